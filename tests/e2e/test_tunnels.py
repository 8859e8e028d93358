"""Links between machines over UDP: by name, and from behind a NAT. Real sshd, agents, iptables."""

from __future__ import annotations

import json
import math
import os
import shutil
import subprocess
import sys
import threading

import pytest
from helpers.machines import SSHD, machines, sh
from helpers.otter import wait_for

pytestmark = pytest.mark.timed

INNER = "10.99.0.3"
"""Of the machine behind a NAT: nobody else has a way there."""

TOPOLOGY = f"""
name = "wide"

[defaults.module]
runtime = "process"

[hosts.phone]
machine = "m1"
[hosts.edge]
machine = "m2"
[hosts.cloud]
machine = "m3"

[[links]]
name = "radio"
between = ["phone", "edge"]
delay = "20ms"
rate = "50mbit"
tunnel = "udp"

[[links]]
name = "fibre"
between = ["edge", "cloud"]

[modules.shell]
host = "phone"
command = ["sleep", "infinity"]
[modules.far]
host = "edge"
command = ["sleep", "infinity"]
[modules.sink]
host = "cloud"
command = ["{sys.executable}", "sink.py"]
files = {{ "sink.py" = "sink.py" }}
ready = {{ tcp = 9000 }}
"""

SINK = """
import hashlib, socket
listener = socket.create_server(("", 9000))
while True:
    connection, _ = listener.accept()
    with connection:
        told = hashlib.sha256()
        while data := connection.recv(1 << 20):
            told.update(data)
        connection.sendall(told.hexdigest().encode())
"""
SOURCE = """
import hashlib, os, socket
data = os.urandom(1 << 20) * 24 + os.urandom(777)
with socket.create_connection(("sink", 9000)) as made:
    made.sendall(data)
    made.shutdown(socket.SHUT_WR)
    print(made.recv(100).decode() == hashlib.sha256(data).hexdigest())
"""


@pytest.fixture(scope="module")
def trio(require):
    """Three machines for all tests here, the third behind a NAT."""
    require("netns", os.geteuid() == 0 and shutil.which("ip"), "not root")
    require("netns", shutil.which("iptables"), "no iptables")
    require("ssh", SSHD, "no sshd (.ci/debian tests)")
    with machines(3) as world:
        (world.folder / "sink.py").write_text(SINK)
        behind = world["m3"]
        sh("ip", "-n", behind.netns, "address", "add", f"{INNER}/32", "dev", "eth0")
        rule = ["-s", INNER, "-j", "SNAT", "--to-source", behind.address]
        sh("nsenter", f"--net=/run/netns/{behind.netns}",
           "iptables", "-t", "nat", "-A", "POSTROUTING", *rule)  # fmt: skip
        site = world.folder / "site.toml"
        name = f"[machines.{behind.name}]\n"
        site.write_text(site.read_text().replace(name, f'{name}data = "{INNER}"\n'))
        yield world


@pytest.fixture
def world(trio):
    """The three, with no mesh before and nothing left after the test."""
    yield trio
    for machine in trio.all:
        machine.heal()
    trio("destroy", "--all", "--yes", "--no-fetch", code=None)
    assert trio.leftovers() == []
    wait_for(lambda: not any(listening(machine) for machine in trio.all), "nothing listens")


def listening(machine):
    """UDP sockets in a machine's own network."""
    said = sh("nsenter", f"--net=/run/netns/{machine.netns}", "ss", "-Hlun")
    return [line.split()[3] for line in said.splitlines()]


def rtt_ms(world, module, to):
    """Of the fastest of three pings; inf: none came back."""
    said = world("exec", module, "--", "ping", "-c", "3", "-i", "0.2", to, code=None).stdout
    return float(said.rsplit("=", 1)[1].split("/")[0]) if "\nrtt " in said else math.inf


def tunnels(world):
    """Link and end that sends -> how it gets to the other machine."""
    return {(x["name"], x["from"]): x["tunnel"] for x in world.json("status")["links"]}


def carrier(machine):
    """The process that carries a machine's tunnels."""
    path = f"{machine.root}/run/tunnels/tunnels.s"
    found = [int(pid) for pid in sh("pgrep", "-f", path, check=False).split()]
    return next(iter(found), None)


def test_links_over_udp_are_links(world):
    file = world.topology(TOPOLOGY)
    planned = world("plan", file).stdout
    assert "link radio leaves m1 by udp" in planned
    assert "link fibre leaves m3 by udp, " in planned
    assert f"no VXLAN: m2 doesn't reach m3 ({INNER})" in planned
    assert not any(listening(machine) for machine in world.all)
    assert world("apply", file).returncode == 0
    assert world("apply", file).stdout.startswith("mesh wide: nothing to change")
    told = tunnels(world)
    assert {key: (t["kind"], t["machine"]) for key, t in told.items()} == {
        ("radio", "phone"): ("udp", "m2"), ("radio", "edge"): ("udp", "m1"),
        ("fibre", "edge"): ("udp", "m3"), ("fibre", "cloud"): ("udp", "m2"),
    }  # fmt: skip
    wait_for(lambda: all(t["joined"] for t in tunnels(world).values()), "both ends have met")
    told = tunnels(world)
    assert told["fibre", "edge"]["peer"].startswith(world["m3"].address)  # as the NAT shows it
    assert all(t["underlay"]["delay_s"] < 0.02 for t in told.values())
    assert all(t["underlay"]["rate_bps"] > 1e6 for t in told.values())
    assert 39.5 < rtt_ms(world, "shell", "far") < 55
    assert 39.5 < rtt_ms(world, "shell", "sink") < 55
    for machine, address in zip(world.all, (None, None, INNER), strict=True):
        assert listening(machine) == [f"{address or machine.address}:14790"]
    shown = world("status").stdout
    assert "BETWEEN MACHINES" in shown
    assert "answers at" in shown


def test_what_is_sent_arrives_whole(world):
    """Super-packets are cut into datagrams and put together; MTU and window are right all along."""
    world("apply", world.topology(TOPOLOGY))
    for module in ("far", "shell"):  # whole over the fibre; cut by the radio's rate before
        said = world("exec", module, "--", sys.executable, "-c", SOURCE).stdout
        assert said.strip() == "True"
    whole = world("exec", "shell", "--", "ping", "-c", "2", "-M", "do", "-s", "1422", "sink")
    assert "2 received" in whole.stdout
    assert sum(t["dropped"] for t in tunnels(world).values()) < 100


def test_what_is_repeated_or_forged_gets_nobody_in(world):
    """Somebody at the same network heard all and sends it again, and sends things of his own."""
    world("apply", world.topology(TOPOLOGY))
    rtt_ms(world, "shell", "far")
    heard: list[str] = []
    links = world["m2"].ask("GET", "/v1/meshes/wide")["spec"]["links"]
    [number] = [link["tunnel"]["vni"] for link in links if link["name"] == "radio"]

    def listen() -> None:
        done = subprocess.run(
            ["nsenter", f"--net=/run/netns/{world['m2'].netns}", sys.executable, "-c", _HEAR,
             str(number)],
            capture_output=True, text=True, check=False, timeout=60,
        )  # fmt: skip
        heard.extend(done.stdout.split())

    thread = threading.Thread(target=listen)
    thread.start()
    while thread.is_alive():
        rtt_ms(world, "shell", "far")
    assert len(heard) == 8
    before = at_edge(world)
    done = subprocess.run(
        ["nsenter", f"--net=/run/netns/{world['m3'].netns}", sys.executable, "-c", _REPEAT,
         world["m2"].address, *heard],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    wait_for(lambda: at_edge(world)["replayed"] >= len(heard), "what was repeated is known")
    after = at_edge(world)
    assert after["forged"] >= before["forged"] + len(heard)
    assert after["received"] - before["received"] < 4
    assert tunnels(world)["radio", "edge"]["peer"].startswith(world["m1"].address)
    assert 39.5 < rtt_ms(world, "shell", "far") < 55


def at_edge(world):
    """What the two links' ends on one machine have counted, together."""
    ends = [t for (_, end), t in tunnels(world).items() if end == "edge"]
    return {key: sum(t[key] for t in ends) for key in ("replayed", "forged", "received")}


_HEAR = """
import socket, sys
with socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(0x0800)) as sock:
    sock.bind(("eth0", 0x0800))
    number = int(sys.argv[1]).to_bytes(3, "big")  # the agents' own talk goes the same way
    left = 8
    while left:
        data, where = sock.recvfrom(65535)
        there = where[2] == 0 and data[9] == 17 and data[22:24] == (14790).to_bytes(2, "big")
        if there and data[37:40] == number:
            print(data[28:].hex())
            left -= 1
"""
_REPEAT = """
import socket, sys
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
    for text in sys.argv[2:]:
        data = bytearray.fromhex(text)
        sock.sendto(data, (sys.argv[1], 14790))
        data[-1] ^= 1
        sock.sendto(data, (sys.argv[1], 14790))
"""


def test_links_go_on_without_the_agent_and_come_back_without_their_carrier(world):
    world("apply", world.topology(TOPOLOGY))
    machine = world["m2"]
    pid = carrier(machine)
    machine.kill_agent()
    machine.start_agent()
    wait_for(lambda: world.json("status")["state"] == "ready", "the agent is back")
    assert carrier(machine) == pid
    assert rtt_ms(world, "shell", "far") < 55
    os.kill(pid, 9)
    wait_for(lambda: carrier(machine) not in (None, pid), "another carries them")
    wait_for(lambda: all(t["joined"] for t in tunnels(world).values()), "both ends have met again")
    assert rtt_ms(world, "shell", "sink") < 55
    assert [m["restarts"] for m in world.json("status")["modules"]] == [0, 0, 0]


def test_a_link_goes_over_to_the_other_way_while_the_mesh_runs(world):
    """From UDP to VXLAN and back, by the topology's word; nothing is restarted."""
    world("apply", world.topology(TOPOLOGY))
    pids = {m["name"]: m["pid"] for m in world.json("status")["modules"]}
    other = TOPOLOGY.replace('tunnel = "udp"', 'tunnel = "vxlan"')
    assert "over: udp -> vxlan" in world("plan", world.topology(other)).stdout
    for text, kind in ((other, "vxlan"), (TOPOLOGY, "udp")):
        world("apply", world.topology(text))
        assert tunnels(world)["radio", "phone"]["kind"] == kind
        wait_for(lambda: 39.5 < rtt_ms(world, "shell", "sink") < 55, "packets pass")
    assert {m["name"]: m["pid"] for m in world.json("status")["modules"]} == pids
    refused = TOPOLOGY.replace('name = "fibre"', 'name = "fibre"\ntunnel = "vxlan"')
    said = world("plan", world.topology(refused), code=2).stderr
    assert f"link fibre: tunnel = \"vxlan\" can't be had: m2 doesn't reach m3 ({INNER})" in said


def test_a_port_that_somebody_has_is_named(world):
    machine = world["m1"]
    holder = subprocess.Popen(
        ["nsenter", f"--net=/run/netns/{machine.netns}", sys.executable, "-c",
         "import socket, sys; s = socket.socket(2, 2); s.bind(('', 14790)); print(1, flush=True);"
         "sys.stdin.read()"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline()
        world("apply", world.topology(TOPOLOGY), "--no-wait")
        why = f"udp {machine.address}:14790: address already in use"
        wait_for(lambda: why in world.json("status", code=None)["problem"], "the mesh says why")
    finally:
        holder.communicate()
    wait_for(lambda: world.json("status")["state"] == "ready", "it comes by itself then")
    assert json.dumps(tunnels(world)["radio", "phone"]["joined"]) == "true"
