"""Meshes on several machines: real sshd, real agents, namespaces for machines. No engine."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys

import pytest
from helpers.machines import SSHD, machines, sh
from helpers.otter import wait_for
from helpers.pings import answered

SENDER = """
import asyncio
import net

async def main(mesh):
    await mesh.ready()
    for number in range(100000):
        await mesh.output("numbers").send(number)
        await asyncio.sleep(0.05)

net.run(main)
"""
RECEIVER = """
import net

async def main(mesh):
    await mesh.ready()
    async for message in mesh.input("numbers"):
        print("took", message.value, flush=True)

net.run(main)
"""

TOPOLOGY = f"""
name = "spread"

[defaults.module]
runtime = "process"

[hosts.phone]
machine = "m1"
cpu = 0.5
[hosts.edge]
machine = "m2"
[hosts.cloud]
machine = "m3"

[[links]]
name = "radio"
between = ["phone", "edge"]
delay = "20ms"
rate = "50mbit"

[[links]]
name = "fibre"
between = ["edge", "cloud"]

[modules.sender]
host = "phone"
command = ["{sys.executable}", "sender.py"]
files = {{ "sender.py" = "sender.py" }}
ready = {{ sdk = true }}
[modules.receiver]
host = "cloud"
command = ["{sys.executable}", "receiver.py"]
files = {{ "receiver.py" = "receiver.py" }}
ready = {{ sdk = true }}
[modules.shell]
host = "phone"
command = ["sleep", "infinity"]
[modules.far]
host = "edge"
command = ["sleep", "infinity"]

[[streams]]
from = "sender.numbers"
to = "receiver.numbers"

[[events]]
at = "1s"
link = "radio"
set = {{ delay = "30ms" }}
"""


@pytest.fixture(scope="module")
def trio(require):
    """Three machines for all tests here."""
    require("netns", os.geteuid() == 0 and shutil.which("ip"), "not root")
    require("ssh", SSHD, "no sshd (.ci/debian tests)")
    with machines(3) as world:
        (world.folder / "sender.py").write_text(SENDER)
        (world.folder / "receiver.py").write_text(RECEIVER)
        yield world


@pytest.fixture
def world(trio):
    """The three, with no mesh before and nothing left after the test."""
    yield trio
    for machine in trio.all:
        machine.heal()
    trio("destroy", "--all", "--yes", "--no-fetch")
    assert trio.leftovers() == []


def rtt_ms(world, module, to):
    said = world("exec", module, "--", "ping", "-c", "5", "-i", "0.2", to).stdout
    return float(said.rsplit("=", 1)[1].split("/")[0])


def event_came(world):
    """The one of the topology, to both directions of its link."""
    wait_for(lambda: world.json("timeline", "show")["lateness"]["changes"] == 2, "both directions")


def took(world):
    lines = world("logs", "receiver", "--tail", "1").stdout.split()
    return int(lines[-1]) if lines else -1


@pytest.mark.timed
def test_a_mesh_on_three_machines_is_one_mesh(world):
    file = world.topology(TOPOLOGY)
    assert "10 to create" in world("plan", file).stdout
    assert world.leftovers() == []
    applied = world("apply", file)
    assert "4 modules ready" in applied.stdout
    status = world.json("status")
    assert {h["name"]: h["machine"] for h in status["hosts"]} == {
        "phone": "m1", "edge": "m2", "cloud": "m3",
    }  # fmt: skip
    assert [m["name"] for m in status["machines"] if m["reachable"]] == ["m1", "m2", "m3"]
    for machine in status["machines"]:  # they are namespaces of one computer: one clock
        assert abs(machine["clock_offset_s"]) <= machine["clock_error_s"] + 0.001
    assert {m["name"]: m["state"] for m in status["modules"]} == dict.fromkeys(
        ("sender", "receiver", "shell", "far"), "ready"
    )
    shaped = {(x["name"], x["from"], x["to"]): x["applied"] for x in status["links"]}
    assert len(shaped) == 4
    assert (
        shaped["radio", "phone", "edge"]["rate_bps"] == shaped["radio", "edge", "phone"]["rate_bps"]
    )
    # Names, routes over two tunnels, shaped once a direction, and streams.
    wait_for(lambda: took(world) > 20, "numbers come")
    event_came(world)
    assert 59.5 < rtt_ms(world, "shell", "receiver") < 75
    assert rtt_ms(world, "far", "receiver") < 10
    # One epoch: what the two machines noted of the event differs by no more than their clocks.
    epochs = [m.ask("GET", "/v1/meshes/spread/timeline")["epoch"] for m in world.all]
    unsure_s = max(m["clock_error_s"] for m in status["machines"])
    assert max(epochs) - min(epochs) < 0.02 + 2 * unsure_s
    assert world("apply", file).stdout.startswith("mesh spread: nothing to change")
    assert "nothing to change" in world("plan", file).stdout


@pytest.mark.timed
def test_changes_by_hand_and_measuring_where_a_direction_is_made_scarce(world):
    world("apply", world.topology(TOPOLOGY))
    event_came(world)
    world("shape", "link", "radio", "--delay", "60ms", "--direction", "edge>phone")
    links = {(x["name"], x["from"]): x for x in world.json("status")["links"]}
    assert links["radio", "edge"]["applied"]["delay_s"] == 0.06
    assert links["radio", "phone"]["applied"]["delay_s"] == 0.03
    rows = world.json("verify", "radio", "--quick", code=None)
    delays = {r["from"]: r["measured"] for r in rows if r["property"] == "delay"}
    assert delays["edge"] == pytest.approx(0.06, abs=0.01)
    assert delays["phone"] == pytest.approx(0.03, abs=0.01)
    refused = world("capture", "radio", "-o", "-", "--packets", "1", code=1).stderr
    assert "leads from machine to machine: capture one direction" in refused
    events = world("events").stdout
    assert "sender" in events
    assert "receiver" in events
    assert world("stop", "sender").returncode == 0
    assert {m["name"]: m["state"] for m in world.json("status")["modules"]}["sender"] == "stopped"
    world("apply", world.topology(TOPOLOGY))
    world("cp", "far:/etc/hosts", world.folder / "hosts")
    text = (world.folder / "hosts").read_text()
    assert all(name in text for name in ("phone", "receiver", "sender"))


def test_a_machine_that_is_cut_off_hides_nothing_and_goes_on(world):
    """The controller loses it; its modules don't notice, and the mesh is whole when it is back."""
    file = world.topology(TOPOLOGY)
    world("apply", file)
    pid = {m["name"]: m["pid"] for m in world.json("status")["modules"]}["receiver"]
    world["m3"].cut()
    status = world.json("status", code=None)
    assert status["state"] == "degraded"
    machines_ = {m["name"]: m for m in status["machines"]}
    assert not machines_["m3"]["reachable"]
    assert "can't be reached by SSH" in machines_["m3"]["why"]
    modules = {m["name"]: m for m in status["modules"]}
    assert modules["sender"]["state"] == "ready"
    assert modules["receiver"]["reason"] == "machine m3 gives no answer"
    assert modules["receiver"]["host"] == "cloud"
    refused = world("apply", file, code=1).stderr
    assert "m3: can't be reached by SSH" in refused
    assert "m3: can't be reached by SSH" in world("exec", "receiver", "--", "true", code=1).stderr
    assert os.path.exists(f"/proc/{pid}")
    world["m3"].heal()
    wait_for(lambda: world.json("status")["state"] == "ready", "whole again")
    before = took(world)
    wait_for(lambda: took(world) > before, "numbers come again")
    assert {m["name"]: m["pid"] for m in world.json("status")["modules"]}["receiver"] == pid


def test_nothing_begins_unless_all_machines_can(world):
    """One says no: not one module of the others has been started, and nothing is left."""
    wrong = TOPOLOGY.replace(
        "[modules.receiver]\n", '[modules.receiver]\nmounts = { "/data" = { from = "/none" } }\n'
    )
    refused = world("apply", world.topology(wrong), code=1).stderr
    assert "m3: module receiver: " in refused
    for machine in world.all:
        assert machine.ask("GET", "/v1/meshes") == []


def test_no_verb_has_more_than_one_connection_to_a_machine(world):
    def logins():
        return [m.log_of_sshd().count("Accepted publickey") for m in world.all]

    file = world.topology(TOPOLOGY)
    for verb, all_of_them in (
        (("plan", file), True),
        (("apply", file), True),
        (("status",), True),
        (("logs", "receiver"), False),
        (("exec", "receiver", "--", "true"), False),
        (("cp", "far:/etc/hosts", world.folder / "hosts"), False),
        (("shape", "link", "radio", "--delay", "25ms"), False),
        (("verify", "radio", "--quick"), False),
        (("fetch",), True),
        (("destroy", "--yes"), True),
    ):
        before = logins()
        world(*verb, code=None if verb[0] == "verify" else 0)
        made = [now - then for now, then in zip(logins(), before, strict=True)]
        assert set(made) == {1} if all_of_them else {1} <= set(made) <= {0, 1}, (verb, made)


def test_packets_of_the_full_size_come_through_whole(world):
    """Over one VXLAN and over two, also where a machine's own network takes less than others'."""

    def pinged(size, to, *more, code=0):
        argv = ("ping", "-c", "2", "-i", "0.2", "-M", "do", *more, "-s", size, to)
        return world("exec", "shell", "--", *argv, code=code).stdout

    file, narrow = world.topology(TOPOLOGY), world["m2"]
    try:
        for mtu in (1500, 1400):
            sh("ip", "-n", narrow.netns, "link", "set", "eth0", "mtu", mtu)
            world("apply", file)
            for to in ("far", "receiver"):
                assert answered(pinged(mtu - 50 - 28, to, "-w", "60")) == [1, 2]  # also late
            assert " 0 received" in pinged(mtu - 50 - 27, "far", code=1)
            world("destroy", "--yes", "--no-fetch")
    finally:
        sh("ip", "-n", narrow.netns, "link", "set", "eth0", "mtu", "1500")


def test_of_two_controllers_one_wins(world):
    file = world.topology(TOPOLOGY)
    lease = {"holder": "other", "who": "anna on laptop", "for_s": 60}
    world["m2"].ask("PUT", "/v1/meshes/spread/lease", json.dumps(lease).encode())
    refused = world("apply", file, code=1).stderr
    assert "m2: mesh spread is being changed by anna on laptop right now" in refused
    for machine in world.all:
        assert machine.ask("GET", "/v1/meshes") == []
    back = {**lease, "for_s": 0}
    world["m2"].ask("PUT", "/v1/meshes/spread/lease", json.dumps(back).encode())
    # Now at the same time: the first can't be done before the second has tried.
    until = 'host = "edge"\nready = { command = ["test", "-e", "go"] }\n'
    held = TOPOLOGY.replace('host = "edge"\ncommand', f"{until}command")
    first = world.popen("apply", world.topology(held, "held.toml"))
    wait_for(lambda: all(m.ask("GET", "/v1/meshes") for m in world.all), "all have their parts")
    elsewhere = {"OTTER_ROOT": str(world.folder / "elsewhere")}
    told = world("apply", file, code=1, env=elsewhere).stderr
    assert "mesh spread is being changed by" in told
    [folder] = world["m2"].root.glob("**/meshes/spread/far/work")
    (folder / "go").touch()
    said = first.communicate(timeout=120)[1]
    assert first.returncode == 0, said
    assert "is being changed by" not in said
    status = world.json("status")
    assert status["state"] == "ready"
    assert "nothing to change" in world("plan", world.folder / "held.toml").stdout


def test_an_agent_that_is_killed_while_modules_start(world):
    """The others keep their parts and the error names it; applied again, the mesh is whole."""
    never = 'host = "phone"\ncommand = ["sleep", "infinity"]\n'
    never += 'ready = { command = ["false"], within = "3s" }\n'
    slow = TOPOLOGY.replace('host = "phone"\ncommand = ["sleep", "infinity"]\n', never)
    applying = world.popen("apply", world.topology(slow))
    machine = world["m3"]
    wait_for(lambda: machine.ask("GET", "/v1/meshes"), "m3 has its part")
    machine.kill_agent()
    _, said = applying.communicate(timeout=100)
    assert applying.returncode == 1
    assert "m3: " in said
    assert "mesh spread is partial: m1, m2 of its machines have settled" in said
    assert "Traceback" not in said
    machine.start_agent()
    world("apply", world.topology(TOPOLOGY))
    assert world.json("status")["state"] == "ready"
    assert world.json("timeline", "show")["state"] == "running"


def test_an_epoch_that_nobody_waited_for_is_set_by_the_next_apply(world):
    file = world.topology(TOPOLOGY)
    world("apply", file, "--no-wait")
    wait_for(lambda: world.json("status")["state"] == "ready", "all are ready")
    assert world.json("timeline", "show")["state"] == "waiting"
    assert world("apply", file).stdout.startswith("mesh spread: nothing to change")
    assert {m.ask("GET", "/v1/meshes/spread/timeline")["state"] for m in world.all} == {"running"}


def test_who_is_not_in_the_mesh_gets_nothing_in(world):
    """Packets of the right form from another machine of the same network are dropped."""
    world("apply", world.topology(TOPOLOGY))
    spec = world["m2"].ask("GET", "/v1/meshes/spread")["spec"]
    tunnel = next(link["tunnel"] for link in spec["links"] if link["name"] == "radio")
    pid = {m["name"]: m["pid"] for m in world.json("status")["modules"]}["far"]
    address = spec["names"]["far"]

    def heard() -> int:
        table = sh("nsenter", f"--net=/proc/{pid}/ns/net", "cat", "/proc/net/snmp")
        head, values = [x.split() for x in table.splitlines() if x.startswith("Icmp:")]
        return int(dict(zip(head, values, strict=True))["InEchos"])

    before = heard()
    forge = _FORGE.format(
        target=world["m2"].address, port=tunnel["port"], vni=tunnel["vni"], address=address
    )
    done = subprocess.run(
        ["nsenter", f"--net=/run/netns/{world['m3'].netns}", sys.executable, "-c", forge],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert rtt_ms(world, "shell", "far") > 39  # those of the mesh come through meanwhile
    assert heard() == before + 5


_FORGE = """
import socket, struct

def sum_(data):
    total = sum(struct.unpack(f"!{{len(data) // 2}}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF

icmp = struct.pack("!BBHHH", 8, 0, 0, 1, 1)
icmp = struct.pack("!BBHHH", 8, 0, sum_(icmp), 1, 1)
source, target = socket.inet_aton("100.64.0.9"), socket.inet_aton("{address}")
head = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(icmp), 1, 0, 64, 1, 0, source, target)
head = head[:10] + struct.pack("!H", sum_(head)) + head[12:]
vxlan = struct.pack("!II", 0x08000000, {vni} << 8)
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
    for mac in (b"\\xff" * 6, b"\\x02" + b"\\0" * 5):
        frame = mac + b"\\x02\\0\\0\\0\\0\\x09" + b"\\x08\\x00" + head + icmp
        for _ in range(20):
            sock.sendto(vxlan + frame, ("{target}", {port}))
"""


def test_a_host_moves_to_another_machine(world):
    """Its part goes there, the machine that had it keeps nothing, and what stays isn't touched."""
    world("apply", world.topology(TOPOLOGY))
    pids = {m["name"]: m["pid"] for m in world.json("status")["modules"]}
    moved = TOPOLOGY.replace('[hosts.cloud]\nmachine = "m3"', '[hosts.cloud]\nmachine = "m2"')
    world("apply", world.topology(moved))
    status = world.json("status")
    assert {h["name"]: h["machine"] for h in status["hosts"]}["cloud"] == "m2"
    assert world["m3"].ask("GET", "/v1/meshes") == []
    now = {m["name"]: m["pid"] for m in status["modules"]}
    assert (now["sender"], now["far"]) == (pids["sender"], pids["far"])
    before = took(world)
    wait_for(lambda: took(world) > before, "numbers come from there")


def test_a_firewall_that_lets_pings_in_and_nothing_else_is_named(world, require):
    """As ufw is: what comes back of what a machine has begun gets in, what others begin doesn't."""
    require("netns", shutil.which("iptables"), "no iptables")
    file, shut = world.topology(TOPOLOGY), world["m2"]
    rules = (
        ("-p", "udp", "-m", "conntrack", "--ctstate", "ESTABLISHED", "-j", "ACCEPT"),
        ("-p", "udp", "-j", "DROP"),
    )
    firewall = ["nsenter", f"--net=/run/netns/{shut.netns}", "iptables"]
    why = "machine m2 (10.77.0.12): nothing that m1, m3 send to its UDP port 14789 comes in"
    allow = "ufw allow proto udp from 10.77.0.11 to any port 14789"
    try:
        for rule in rules:
            sh(*firewall, "-A", "INPUT", *rule)
        for verb in ("plan", "apply"):
            said = world(verb, file).stderr
            assert why in said
            assert allow in said
            assert said.count("nothing that ") == 1  # the others keep nothing out
        lost = world("exec", "shell", "--", "ping", "-c", "1", "-W", "1", "far", code=None)
        assert lost.returncode == 1  # it was right
        opened = ("-p", "udp", "--dport", "14789", "-j", "ACCEPT")
        sh(*firewall, "-I", "INPUT", *opened)
        assert world("plan", file).stderr == ""  # though the kernel's VXLAN has the port by now
        assert world("apply", file).stderr == ""
        assert rtt_ms(world, "shell", "far") > 39
    finally:
        sh(*firewall, "-F", "INPUT")


def test_a_data_network_that_carries_less_is_warned_of(world):
    """No answer from a data address; packets that don't come through whole."""
    site = world.folder / "site.toml"
    text = site.read_text()
    file = world.topology(TOPOLOGY)
    try:
        for machine in world.all:
            extra = f"10.78.0.{machine.address.rpartition('.')[2]}/24"
            sh("ip", "-n", machine.netns, "address", "add", extra, "dev", "eth0")
        for m in world.all:
            text = text.replace(
                f"[machines.{m.name}]\n",
                f'[machines.{m.name}]\ndata = "{m.address.replace("10.77", "10.78")}"\n',
            )
        site.write_text(text)
        assert world("plan", file).stderr == ""
        sh("ip", "-n", world["m2"].netns, "address", "del", "10.78.0.12/24", "dev", "eth0")
        refused = world("plan", file, code=2).stderr
        assert "machine m2: 10.78.0.12 is none of its addresses" in refused
        sh("ip", "-n", world["m2"].netns, "address", "add", "10.78.0.12/32", "dev", "eth0")
        said = world("plan", file).stderr
        assert "from machine m2 to m1 (10.78.0.11)" in said
        assert "links between them may carry nothing" in said
    finally:
        world.write_site()


def test_machines_that_ssh_reaches_by_ipv6_are_joined_by_ipv4(world):
    """As `raspberrypi.local` is in many homes: links are IPv4's."""
    file, names = world.topology(TOPOLOGY), ("ssh_config", "known_hosts")
    m1 = world["m1"]
    for number, netns in ((1, world.ctl), (11, m1.netns)):
        six = f"fd00:77::{number}/64"
        sh("ip", "-n", netns, "address", "add", six, "dev", "eth0", "nodad")
    try:
        m1.stop_sshd()
        m1.more = ("ListenAddress fd00:77::11",)
        m1.start_sshd()
        for path in (world.folder / name for name in names):
            before = "HostName " if path.name == "ssh_config" else ""
            text = path.read_text()
            path.write_text(text.replace(f"{before}{m1.address}", f"{before}fd00:77::11", 1))
        said = world("apply", file)
        assert "4 modules ready" in said.stdout
        told = f"machine m1: SSH goes to fd00:77::11, links to other machines go by {m1.address}"
        assert told in said.stderr
        assert "m2" not in said.stderr
        assert rtt_ms(world, "shell", "receiver") > 39.5
        site = world.folder / "site.toml"
        data = f'[machines.m1]\ndata = "{m1.address}"\n'
        site.write_text(site.read_text().replace("[machines.m1]\n", data))
        assert world("plan", file).stderr == ""
        world("destroy", "--yes", "--no-fetch")
    finally:
        world.write_site()
        m1.stop_sshd()
        m1.more = ()
        m1.start_sshd()
        sh("ip", "-n", m1.netns, "address", "del", "fd00:77::11/64", "dev", "eth0")
        sh("ip", "-n", world.ctl, "address", "del", "fd00:77::1/64", "dev", "eth0")
