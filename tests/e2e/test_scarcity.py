"""Speeds, traces of budgets, disks, storage, running out of memory: from the file to the kernel."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from helpers.otter import wait_for

from otter_agent.cgroups import open_cgroups

pytestmark = [pytest.mark.timed, pytest.mark.netns]

SLOW = """
name = "slow"
[defaults.module]
runtime = "process"
[hosts.pi]
cpu = 0.5
speed = 0.1
[hosts.phone]
cpu = 1.0
trace = { file = "cores.csv", loop = false }
[modules.a]
host = "pi"
cpu = 0.25
command = ["sleep", "1000"]
[hosts.laptop]
cpu = 0.5
speed = 0.1
trace = { file = "speeds.csv", loop = false }
[modules.b]
host = "phone"
trace = { file = "own.csv", loop = false }
command = ["sleep", "1000"]
[modules.c]
host = "laptop"
command = ["sleep", "1000"]
"""


def host(otter, name: str) -> dict:
    return {h["name"]: h for h in otter.json("status")["hosts"]}[name]


def of(told: dict) -> tuple:
    """What is in force of memory and network."""
    return tuple(told["in_force"][name] for name in ("memory_bytes", "in_bps", "out_bps"))


def test_cores_of_a_speed_are_so_many_of_this_machine_s_and_traces_change_them(shared_otter):
    otter = shared_otter
    (otter.root / "cores.csv").write_text(
        "time,cpu,memory_MiB,in_mbit\n0,0.75,512,8\n0.3,0.25,256,4\n"
    )
    (otter.root / "own.csv").write_text("time,memory_MiB,out_mbit\n0,96,4\n0.3,64,2\n")
    (otter.root / "speeds.csv").write_text("time,speed\n0.3,0.05\n")
    file = otter.topology(SLOW)
    otter("apply", file)
    speed = json.loads((otter.root / "a" / "lib" / "speed.json").read_text())["value"]
    assert 0.05 < speed < 5
    told = host(otter, "pi")
    assert (told["asked"]["cpu"], told["asked"]["speed"]) == (0.5, 0.1)
    assert told["in_force"]["cpu"] == pytest.approx(0.5 * 0.1 / speed, rel=0.02)
    assert told["in_force"]["speed"] == speed
    of_module = otter.modules("slow")["a"]["in_force"]["cpu"]
    assert of_module == pytest.approx(0.25 * 0.1 / speed, rel=0.02)
    assert f"(0.5 of speed {0.1:g})" in otter("status").stdout
    assert (
        f"0.5 cores of speed 0.1: {0.05 / speed:.3g} of this machine's"
        in otter("plan", file).stdout
    )
    (told,) = otter.json("shape", "host", "pi", "--speed", "0.05")["hosts"]
    assert told["in_force"]["cpu"] == pytest.approx(0.5 * 0.05 / speed, rel=0.02)
    of_module = otter.modules("slow")["a"]["in_force"]["cpu"]
    assert of_module == pytest.approx(0.25 * 0.05 / speed, rel=0.02)
    wait_for(lambda: host(otter, "phone")["in_force"]["cpu"] == 0.25, "the trace never came")
    wait_for(lambda: of(host(otter, "phone")) == (256 << 20, 4e6, None), "its memory and network")
    wait_for(lambda: of(otter.modules("slow")["b"]) == (64 << 20, None, 2e6), "a module's")
    slow = pytest.approx(0.5 * 0.05 / speed, rel=0.02)
    wait_for(lambda: host(otter, "laptop")["in_force"]["cpu"] == slow, "its speed")
    assert "traces.host.phone" in otter("plan", file, "--set", "hosts.phone.trace=none").stdout


def test_cores_faster_than_this_machine_s_are_refused_unless_that_is_allowed(shared_otter):
    otter = shared_otter
    file = otter.topology(SLOW.replace("speed = 0.1", "speed = 900").split("trace =")[0])
    said = otter("apply", file, code=1).stderr
    assert "host pi asks for cores of speed 900, this machine's have" in said
    assert "apply will be refused" in otter("plan", file, code=1).stderr
    file.write_text("allow_degraded = true\n" + file.read_text())
    otter("apply", file)
    told = host(otter, "pi")
    assert told["in_force"]["cpu"] == 0.5
    assert "cores are slower than 900" in told["note"]
    otter("destroy", "--yes", "--no-fetch")


DISKS = """
name = "disks"
[hosts.pi]
io = { read = "4MB/s" }
[modules.reader]
runtime = "process"
host = "pi"
io = { write_iops = 5000 }
trace = { file = "writes.csv", loop = false }
command = ["sh", "-c", '''
head -c 2097152 /dev/zero > data; sync data
began=$(date +%s%N)
dd if=data of=/dev/null bs=65536 iflag=direct 2>/dev/null
echo took $(( ($(date +%s%N) - began) / 1000000 )) > told
sleep 1000
''']
"""


def test_disks_are_limited_and_what_v1_cannot_do_is_said(shared_otter, require):
    otter = shared_otter
    cgroups = open_cgroups("probe")
    why = cgroups.no_disks()
    require("netns", not why, f"disks can't be limited: {why}")
    (otter.root / "writes.csv").write_text("time,write_MB/s\n0,50\n0.3,20\n")
    otter("apply", otter.topology(DISKS))
    told = otter.modules("disks")["reader"]
    assert told["asked"]["write_iops"] == told["in_force"]["write_iops"] == 5000
    if cgroups.version == "v1":  # which limits each module by itself
        assert told["in_force"]["read_bytes_per_s"] == 4_000_000
        assert "only what isn't buffered" in told["note"]
        assert "for each module by itself" in host(otter, "pi")["note"]
    wait_for(
        lambda: otter.modules("disks")["reader"]["in_force"]["write_bytes_per_s"] == 20_000_000,
        "the trace never came",
    )
    work = otter.root / "a" / "lib" / "meshes" / "disks" / "reader" / "work" / "told"
    wait_for(lambda: work.exists() and "took" in work.read_text(), "it never read its file")
    assert int(work.read_text().split()[1]) > 350  # 2 MiB at 4 MB/s: 524 ms
    (told,) = otter.json("shape", "host", "pi", "--read", "none")["hosts"]
    assert told["in_force"]["read_bytes_per_s"] is None
    assert otter.modules("disks")["reader"]["in_force"]["read_bytes_per_s"] is None
    otter("shape", "module", "reader", "--read", "8MB/s", "--write-iops", "none")
    told = otter.modules("disks")["reader"]["in_force"]
    assert (told["read_bytes_per_s"], told["write_iops"]) == (8_000_000, None)
    assert "read 8MB/s" in otter("shape", "show", "reader").stdout
    otter("destroy", "--yes", "--no-fetch")


EVENTS = """
name = "scarcer"
[defaults.module]
runtime = "process"
[hosts.pi]
cpu = 0.5
speed = 0.1
memory = "512MiB"
[modules.a]
host = "pi"
memory = "256MiB"
command = ["sleep", "1000"]
[modules.b]
host = "pi"
command = ["sleep", "1000"]
[[events]]
at = "0s"
host = "pi"
set = { speed = 0.05, memory = "384MiB", network = { in = "4mbit" }, io = { read = "8MB/s" } }
[[events]]
at = "0s"
module = "a"
set = { memory = "96MiB", network = { out = "2mbit" }, io = { write = "20MB/s", write_iops = 500 } }
"""


def test_events_make_all_that_hosts_and_modules_have_scarce(shared_otter, require):
    """Cores are test_events'; here memory, speed, disks and network, as the kernel has them."""
    otter = shared_otter
    cgroups = open_cgroups("probe")
    why = cgroups.no_disks()
    require("netns", not why, f"disks can't be limited: {why}")
    otter("apply", otter.topology(EVENTS))
    pids = {name: m["pid"] for name, m in otter.modules("scarcer").items()}
    wait_for(lambda: of(host(otter, "pi")) == (384 << 20, 4e6, None), "the host's event")
    wait_for(lambda: of(otter.modules("scarcer")["a"]) == (96 << 20, None, 2e6), "the module's")
    told = host(otter, "pi")
    speed = told["in_force"]["speed"]
    assert told["asked"]["speed"] == 0.05
    assert told["in_force"]["cpu"] == pytest.approx(0.5 * 0.05 / speed, rel=0.02)
    modules = otter.modules("scarcer")
    of_a = modules["a"]["in_force"]
    assert (of_a["write_bytes_per_s"], of_a["write_iops"]) == (20_000_000, 500)
    assert modules["b"]["in_force"]["write_bytes_per_s"] is None
    limited = modules.values() if cgroups.version == "v1" else [told]  # each by itself, or both
    assert [each["in_force"]["read_bytes_per_s"] for each in limited] == [8e6] * len(limited)
    assert {name: m["pid"] for name, m in modules.items()} == pids
    otter("destroy", "--yes", "--no-fetch")


FULL = """
name = "full"
[hosts.pi]
[modules.writer]
runtime = "process"
host = "pi"
storage = "8MiB"
restart = "no"
outputs = ["small"]
files = { "given" = "given.txt" }
command = ["python3", "-c", '''
import os, time
try:
    with open("big", "wb", buffering=0) as file:
        while True:
            file.write(bytes(1 << 16))
except OSError as error:
    os.truncate("big", 1 << 20)
    open("small", "w").write(f"{error.strerror}, {open('given').read()}")
time.sleep(1000)
''']
[modules.glutton]
runtime = "process"
host = "pi"
memory = "24MiB"
restart = "no"
command = ["python3", "-c", "x = bytearray(64 << 20)"]
[modules.parent]
runtime = "process"
host = "pi"
memory = "24MiB"
restart = "no"
command = ["sh", "-c", "python3 -c 'x = bytearray(64 << 20)'; sleep 1000"]
"""


def loops(root: Path) -> list[str]:
    """Loop devices whose files are below a folder."""
    files = Path("/sys/block").glob("loop*/loop/backing_file")
    return [str(file) for file in files if str(root) in file.read_text()]


def test_a_full_work_folder_and_a_full_memory_are_the_module_s_alone(otter):
    (otter.root / "given.txt").write_text("as given")
    otter("apply", otter.topology(FULL), "--no-wait")
    work = otter.root / "a" / "lib" / "meshes" / "full" / "writer" / "work"
    wait_for(lambda: (work / "small").exists() and (work / "small").read_text(), "never full")
    assert (work / "small").read_text() == "No space left on device, as given"
    told = otter.modules("full")["writer"]
    pid = told["pid"]
    assert told["asked"]["storage_bytes"] == told["in_force"]["storage_bytes"] == 8 << 20
    space = os.statvfs(work)
    assert space.f_blocks * space.f_frsize <= 8 << 20
    reason = otter.wait_state("full", "glutton", "failed")["reason"]
    assert reason.startswith("killed: out of memory (asked 24MiB, used 2"), reason
    assert "its host: asked unlimited, used" in reason
    told = "out of memory: a process was killed (asked 24MiB, used 2"  # of one that goes on
    wait_for(lambda: told in otter("events").stdout, "nobody told of the child")
    assert otter.modules("full")["parent"]["state"] == "ready"
    otter("fetch")
    (fetched,) = (otter.root / "runs").rglob("small")
    assert fetched.read_text() == "No space left on device, as given"
    otter.kill_agent()
    otter.serve()  # whose mesh goes on, and which knows what to take down
    told = otter.modules("full")["writer"]
    assert (told["pid"], told["in_force"]["storage_bytes"]) == (pid, 8 << 20)
    otter("destroy", "--yes", "--no-fetch")
    assert str(otter.root) not in Path("/proc/self/mountinfo").read_text()
    wait_for(lambda: not loops(otter.root), "a loop device is left")


RATES = """
name = "rates"
[defaults.module]
runtime = "process"
[hosts.a]
[hosts.b]
[[links]]
between = ["a", "b"]
[modules.sink]
host = "b"
ready = { tcp = 9000 }
command = ["python3", "-c", '''
import socket, threading, time
def take(sock):
    began, size = time.monotonic(), 0
    while data := sock.recv(65536):
        size += len(data)
    print("took", size, time.monotonic() - began, flush=True)
server = socket.create_server(("", 9000))
while True:
    take(server.accept()[0])
''']
[modules.source]
host = "a"
network = { out = "8mbit" }
command = ["sh", "-c", "PATH=$PATH:/sbin:/usr/sbin tc qdisc show dev eth0; exec sleep 1000"]
"""
SEND = """
import socket
with socket.create_connection(("sink", 9000)) as sock:
    sock.sendall(bytes(500_000))
"""


def test_what_is_sent_and_received_is_limited_at_modules_and_at_hosts(shared_otter):
    otter = shared_otter
    otter("apply", otter.topology(RATES))

    def took() -> float:
        def lines() -> list[str]:
            return [line for line in otter("logs", "sink").stdout.splitlines() if "took 5" in line]

        before = len(lines())
        otter("exec", "source", "--", "python3", "-c", SEND)
        found = wait_for(lambda: lines()[before:], "nothing came")
        return float(found[-1].split()[-1])

    assert otter.modules("rates")["source"]["in_force"]["out_bps"] == 8e6
    wait_for(lambda: "qdisc htb" in otter("logs", "source").stdout, "it ran before its limit")
    assert took() > 0.3  # 4 Mbit at 8 Mbit/s, less the queue's 128 KiB: 0.37 s
    (told,) = otter.json("shape", "host", "b", "--in", "4mbit")["hosts"]
    assert (told["in_force"]["in_bps"], told["in_force"]["out_bps"]) == (4e6, None)
    assert took() > 0.6  # 0.74 s
    otter("shape", "reset")
    otter("shape", "module", "source", "--out", "none")
    assert otter.modules("rates")["source"]["in_force"]["out_bps"] is None
    assert took() > 0.0  # whatever it takes here: nothing was left in the way
    otter("destroy", "--yes", "--no-fetch")
