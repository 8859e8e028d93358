"""A mesh on several machines, seen from who isn't in it: from the underlay, and at open ports."""

from __future__ import annotations

import pytest
from helpers.lab_site import NAMES, RING
from helpers.labs import inside
from helpers.otter import wait_for

pytestmark = pytest.mark.netns
SERVER = (
    RING.replace('machine = "lab3"', 'machine = "lab2"')
    + """
[modules.server]
host = "hub"
command = ["python3", "-m", "http.server", "8000"]
ready = { tcp = 8000 }
"""
)
INTRUDER = """
name = "intruder"
[network]
pool = "10.200.0.0/16"
[defaults.module]
runtime = "process"
[hosts.beside]
machine = "lab2"
gateway = true
[hosts.elsewhere]
machine = "lab3"
gateway = true
[[links]]
between = ["beside", "elsewhere"]
[modules.near]
host = "beside"
command = ["sleep", "8317"]
[modules.far]
host = "elsewhere"
command = ["sleep", "8317"]
"""
"""Another mesh, with a part where the server is and one where nothing of it is."""
BY_UDP = RING.replace("[defaults.module]", '[defaults.link]\ntunnel = "udp"\n[defaults.module]')


def listening(site):
    """Machine -> what listens there, but for loopback: protocol, address and port."""
    found = {}
    for name in NAMES:
        lines = inside(site.lab, name, "ss", "-Htuln").splitlines()
        words = [line.split() for line in lines]
        ends = {f"{w[0]} {w[4].split('%')[0]}" for w in words}
        found[name] = sorted(end for end in ends if " 127." not in end and "[::1]" not in end)
    return found


@pytest.mark.parametrize("kind", ["vxlan", "udp"])
def test_nothing_listens_that_was_not_asked_for(trio, site, kind):
    """Before: SSH, in the management network. With a mesh: the tunnels'. Afterwards as before."""
    ssh = {m.name: f"tcp {m.address}:22" for m in trio.machines()}
    before = {name: [ssh[name]] for name in NAMES}
    assert listening(site) == before
    tunnels = dict.fromkeys(NAMES, "udp 0.0.0.0:14789")
    if kind == "udp":
        tunnels = {m.name: f"udp {m.data}:14790" for m in trio.machines()}
    site("apply", site.topology(BY_UDP if kind == "udp" else RING))
    assert listening(site) == {name: [ssh[name], tunnels[name]] for name in NAMES}
    site("destroy", "--yes", "--no-fetch")
    wait_for(lambda: listening(site) == before, "all is closed again")


def test_who_is_not_in_the_mesh_reaches_no_module(trio, site):
    """Neither the machines that carry it, nor another one that routes its addresses to them."""
    site("apply", site.topology(SERVER))
    assert "200" in site("exec", "sender", "--", "curl", "-sI", "http://server:8000/")
    spec = site.json("status")["spec"]
    addresses = [spec["names"][name] for name in ("server", "relay", "hub", "west")]
    data = {m.name: m.data for m in trio.machines()}
    for name, via in (("lab3", data["lab2"]), ("lab3", data["lab1"]), ("lab1", data["lab2"])):
        route = ("100.64.0.0/10", "via", via, "dev", "eth1")
        inside(trio, name, "ip", "route", "add", *route)
        try:
            for address in addresses:
                inside(trio, name, "ping", "-c", "1", "-W", "0.3", address, code=1)
            url = f"http://{addresses[0]}:8000/"
            inside(trio, name, "curl", "-s", "-m", "0.5", url, code=28)
        finally:
            inside(trio, name, "ip", "route", "del", *route)
    for name in ("lab1", "lab2"):  # and they themselves have no way there
        said = inside(trio, name, "ping", "-c", "1", "-W", "0.3", addresses[0], code=None)
        assert "1 received" not in said


def test_no_module_of_another_mesh_reaches_one(trio, site):
    """Not from the same machine nor from another, though the gateways there have routes to it."""
    site("apply", site.topology(SERVER))
    spec = site.json("status")["spec"]
    site("apply", site.topology(INTRUDER, "intruder.toml"))
    data = {m.name: m.data for m in trio.machines()}
    addresses = [spec["names"][name] for name in ("server", "relay", "hub", "west")]

    def says(module, *command):
        process = site.start("exec", "-m", "intruder", module, "--", *command)
        said, errors = process.communicate(timeout=60)
        assert not errors.startswith("Error"), errors
        return process.returncode, said

    for module, name, via in (("near", "lab2", "lab1"), ("far", "lab3", "lab2")):
        assert says(module, "ping", "-c", "1", "-W", "5", data["lab1"])[0] == 0, "it has a way out"
        route = ("100.64.0.0/10", "via", data[via], "dev", "eth1")
        inside(trio, name, "ip", "route", "add", *route)
        try:
            for address in addresses:
                code, said = says(module, "ping", "-c", "1", "-W", "0.3", address)
                assert (code, " 0 received" in said) == (1, True), said
            for target in (addresses[0], *data.values()):
                code, said = says(module, "curl", "-s", "-m", "1", f"http://{target}:8000/")
                assert code in (7, 28), said  # refused, or no answer
                assert said == ""
        finally:
            inside(trio, name, "ip", "route", "del", *route)
    assert "200" in site("exec", "-m", "ring", "sender", "--", "curl", "-sI", "http://server:8000/")
