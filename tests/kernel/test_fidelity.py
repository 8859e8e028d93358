"""A run over the kernel's own links on a machine that is too slow is marked as such, by itself."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from helpers.otter import Otter, command_line, wait_for

pytestmark = [pytest.mark.kernel, pytest.mark.netns]

MESH = """
name = "loaded"
[defaults.module]
runtime = "process"
[hosts.a]
[hosts.b]
[[links]]
name = "radio"
between = ["a", "b"]
delay = "10ms"
rate = "5gbit"
[modules.near]
host = "a"
command = ["sleep", "1000"]
[modules.far]
host = "b"
command = ["sleep", "1000"]
"""
FLOOD = """
import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.setsockopt(socket.IPPROTO_UDP, 103, 200)  # UDP_SEGMENT: 60 packets at once
s.connect(("far", 9000))
while True:
    try:
        s.send(bytes(12_000))
    except OSError:
        pass
"""


def verdict(otter: Otter) -> dict:
    found = otter.json("status")["fidelity"]
    assert found["run"]
    return found


def helper(otter: Otter) -> list[int]:
    """The process that makes changes at their time, and sees how late the kernel is."""
    module = "otter_agent.links.netem.playing"
    return [pid for pid in otter.processes() if module in command_line(pid)]


@contextmanager
def flood(otter: Otter) -> Iterator[None]:
    """More than one processor can carry."""
    with ExitStack() as stack:
        for _ in range(4):
            inside = ("exec", "near", "--", "python3", "-c", FLOOD)
            sender = otter.popen(*inside, stdout=subprocess.DEVNULL)
            stack.callback(sender.wait, 30)
            stack.callback(sender.send_signal, signal.SIGINT)
        yield


def test_a_kernel_that_is_late_makes_the_run_invalid(otter: Otter) -> None:
    otter("apply", otter.topology(MESH))
    assert {link["driver"] for link in otter.json("status")["links"]} == {"netem"}
    assert verdict(otter)["valid"]
    with flood(otter):
        wait_for(lambda: not verdict(otter)["valid"], "nobody noticed")
    found = {doubt["cause"]: doubt for doubt in verdict(otter)["why"]}
    assert found.keys() & {"late", "overrun"}
    if "late" in found:
        assert "the kernel let packets go more than 3 ms late" in found["late"]["text"]
    assert "this run is not what was asked for" in otter("status").stderr
    done = otter("destroy", "--yes", "--json")
    kept = json.loads((Path(json.loads(done.stdout)["folder"]) / "fidelity.json").read_text())
    assert (kept["valid"], bool(kept["why"])) == (False, True)
    wait_for(lambda: not helper(otter), "it looks on though there is nothing any more")


TIMED = MESH.replace('rate = "5gbit"', 'trace = "fast.csv"')
HOG = """
import os, time
os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(50))
while True:
    until = time.monotonic() + 0.03
    while time.monotonic() < until:
        pass
    time.sleep(0.03)
"""


def test_changes_that_come_late_make_it_invalid(otter: Otter) -> None:
    """A process that runs before all others, half of the time."""
    lines = [f"{n / 20},{10 + n % 7}" for n in range(200)]
    (otter.root / "fast.csv").write_text("\n".join(["time,delay_ms", *lines]) + "\n")
    otter("apply", otter.topology(TIMED))
    wait_for(lambda: otter.json("timeline", "show")["lateness"]["changes"] > 40, "it never began")
    hog = subprocess.Popen(["python3", "-c", HOG])
    try:
        wait_for(lambda: not verdict(otter)["valid"], "nobody noticed")
    finally:
        os.kill(hog.pid, signal.SIGKILL)
        hog.wait()
    found = {doubt["cause"]: doubt for doubt in verdict(otter)["why"]}
    assert "changes" in found
    assert "changes of links and budgets came more than 5 ms late" in found["changes"]["text"]
