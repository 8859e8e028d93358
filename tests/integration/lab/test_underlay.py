"""The network between machines is measured, told, warned of, and taken off where that is asked.

Mesh traffic goes over a way that `lab up --management` makes scarce: 5 ms and 20 Mbit/s each way.
"""

from __future__ import annotations

import json
import os
import subprocess

import pytest
from helpers import labs

from otter_ctl.lab.lab import Lab

pytestmark = [pytest.mark.timed, pytest.mark.netns]

TOPOLOGY = """
name = "far"
[defaults.module]
runtime = "process"
[defaults.host]
cpu = 0.25
[hosts.phone]
machine = "lab1"
whole = true
[hosts.edge]
machine = "lab2"
whole = true
[[links]]
name = "radio"
between = ["phone", "edge"]
delay = "30ms"
rate = "10mbit"
subtract_underlay = true
[[links]]
name = "fibre"
between = ["phone", "edge"]
delay = "4ms"
rate = "100mbit"
tunnel = "udp"
[[links]]
name = "lan"
between = ["phone", "edge"]
[modules.shell]
host = "phone"
command = ["sleep", "infinity"]
[modules.far]
host = "edge"
command = ["sleep", "infinity"]
"""


@pytest.fixture(scope="module")
def far(require):
    """Two machines whose data goes where the controller's does, the first one far away."""
    why = labs.unavailable()
    require("netns", not why, why)
    with labs.new_folder() as folder:
        lab = Lab(folder)
        lab.up(1, docker=False, layers=labs.layers(), management="delay=5ms rate=20mbit")
        lab.up(2, docker=False, layers=labs.layers())
        site = folder.parent / "site.toml"
        lines = lab.site.read_text().splitlines()
        own = ['data = "eth0"' if line.startswith("data") else line for line in lines]
        site.write_text("\n".join(own) + "\n")
        yield lab, site


def otterctl(far, *arguments, code=0):
    """`otterctl` with that site; what it prints, and what it says beside."""
    lab, site = far
    done = subprocess.run(
        [labs.BIN / "otterctl", *map(str, arguments)], capture_output=True, text=True, check=False,
        env={**os.environ, "OTTER_LAB": str(lab.folder.path), "NO_COLOR": "1",
             "OTTER_SITE": str(site), "OTTER_RUNS": str(site.parent / "runs"),
             "OTTER_ROOT": str(site.parent / "own")},
        timeout=120,
    )  # fmt: skip
    said = f"{arguments}: {done.returncode}\n{done.stdout}\n{done.stderr}"
    assert code is None or done.returncode == code, said
    assert "Traceback" not in done.stderr, said
    return done.stdout, done.stderr


def is_without_budgets(status):
    """A host that is the whole machine has none, whatever all others have by default."""
    hosts = {host["name"]: host for host in status["hosts"]}
    assert {name: host["machine"] for name, host in hosts.items()} == {
        "phone": "lab1", "edge": "lab2",
    }  # fmt: skip
    for host in hosts.values():
        assert host["cpu"] is host["memory_bytes"] is None
        assert host["in_force"].get("cpu") is None


def is_the_real_network(delay, rate, loss):
    """Each machine's own part of a link of which nothing is asked takes no time at all."""
    assert 0.0049 < delay["measured"] < 0.015
    assert delay["low"] <= delay["measured"] <= delay["high"]
    assert 15e6 < rate["measured"] < 25e6
    for row in (delay, rate):
        assert (row["asked"], row["ok"]) == (None, True)
        assert "the real network between the machines" in row["note"]
    assert "as far as it leaves its machine" in loss["note"]


def test_the_network_between_machines_is_known(far):
    file = far[1].parent / "far.toml"
    file.write_text(TOPOLOGY)
    try:
        _, warned = otterctl(far, "apply", file)
        assert "link fibre: the network from machine lab1 to lab2" in warned
        assert "link fibre: asks for 100mbit, the network from machine lab1 to lab2" in warned
        assert "link radio: asks" not in warned
        status = json.loads(otterctl(far, "status", "--json")[0])
        is_without_budgets(status)
        links = {(x["name"], x["from"]): x for x in status["links"]}
        for end in ("phone", "edge"):
            underlay = links["radio", end]["tunnel"]["underlay"]
            assert 0.0049 < underlay["delay_s"] < 0.015
            assert 15e6 < underlay["rate_bps"] < 25e6
            link, less_s = links["radio", end], links["radio", end]["tunnel"]["less_s"]
            assert less_s == underlay["delay_s"]
            assert link["asked"]["delay_s"] == 0.03
            assert link["applied"]["delay_s"] == pytest.approx(0.03 - less_s, abs=1e-4)
            assert links["fibre", end]["tunnel"]["less_s"] == 0
        assert "(taken off)" in otterctl(far, "status")[0]
        assert "nothing to change" in otterctl(far, "plan", file)[0]
        names = ("radio", "fibre", "lan")
        said = otterctl(far, "verify", *names, "--quick", "--json", code=None)[0]
        rows = {(row["link"], row["from"], row["property"]): row for row in json.loads(said)}
        for end in ("phone", "edge"):
            row = rows["radio", end, "delay"]
            assert row["asked"] == pytest.approx(0.03)
            assert row["measured"] == pytest.approx(0.03, abs=0.01)
            assert "ms of it" in row["note"]
            assert "beside_s" not in row
            on_top = rows["fibre", end, "delay"]
            assert on_top["beside_s"] == links["fibre", end]["tunnel"]["underlay"]["delay_s"]
            assert "ms of the network between lab" in on_top["note"]
            is_the_real_network(*(rows["lan", end, name] for name in ("delay", "rate", "loss")))
        refused = otterctl(far, "shape", "link", "radio", "--delay", "2ms", code=1)[1]
        assert "the network between its machines alone takes" in refused
        otterctl(far, "shape", "link", "radio", "--delay", "40ms")
        status = json.loads(otterctl(far, "status", "--json")[0])
        applied = {(x["name"], x["from"]): x["applied"].get("delay_s") for x in status["links"]}
        assert applied["radio", "phone"] == pytest.approx(0.04 - less_s, abs=1e-4)
        short = TOPOLOGY.replace('delay = "30ms"', 'delay = "3ms"')
        file.write_text(short)
        said = otterctl(far, "plan", file, code=2)[1]
        assert "link radio: subtract_underlay: asks for 3ms, the network from lab" in said
    finally:
        otterctl(far, "destroy", "--all", "--yes", "--no-fetch", code=None)
