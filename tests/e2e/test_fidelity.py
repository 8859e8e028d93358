"""A run on a machine that is too slow is marked as such by itself, and says why."""

from __future__ import annotations

import json
import os
import secrets
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from helpers.otter import Otter, command_line, wait_for

from otter_agent.api import Budget
from otter_agent.cgroups import open_cgroups

pytestmark = [pytest.mark.timed, pytest.mark.netns]

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
rate = "50mbit"
[modules.near]
host = "a"
command = ["sleep", "1000"]
[modules.far]
host = "b"
command = ["sleep", "1000"]
"""
SEND = """
import socket, time
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.connect(("far", 9000))
while True:
    try:
        s.send(bytes(500))
    except ConnectionRefusedError:
        pass
    time.sleep(0.0005)
"""


FLOOD = """
import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.setsockopt(socket.IPPROTO_UDP, 103, 500)  # UDP_SEGMENT: 60 packets at once
s.connect(("far", 9000))
while True:
    try:
        s.send(bytes(30_000))
    except ConnectionRefusedError:
        pass
"""


def helper(otter: Otter) -> int:
    """The process that carries the links."""
    found = [pid for pid in otter.processes() if "otter_agent.links.tun" in command_line(pid)]
    assert len(found) == 1
    return found[0]


@contextmanager
def quota(pid: int, cores: float) -> Iterator[None]:
    """A process with so much of a core, which it has to share with nobody."""
    cgroups = open_cgroups(f"t{secrets.token_hex(3)}")
    cgroups.ensure("quota", Budget(cpu=cores))
    os.sched_setscheduler(pid, os.SCHED_OTHER, os.sched_param(0))  # quotas are for ordinary ones
    try:
        for file in cgroups.procs_files("quota"):
            file.write_text(str(pid))
        yield
    finally:
        for file in cgroups.procs_files("quota"):
            tops = (top / file.name for top in file.parents if top.is_mount())
            next(top for top in tops if top.exists()).write_text(str(pid))
        cgroups.remove("quota")


@contextmanager
def traffic(otter: Otter, program: str = SEND) -> Iterator[None]:
    """From the one module to the other."""
    sender = otter.popen("exec", "near", "--", "python3", "-c", program, stdout=subprocess.DEVNULL)
    try:
        yield
    finally:
        sender.send_signal(signal.SIGINT)
        sender.wait(30)


def verdict(otter: Otter) -> dict:
    found = otter.json("status")["fidelity"]
    assert found["run"]
    return found


def test_a_helper_that_is_kept_from_running_makes_the_run_invalid(otter: Otter) -> None:
    otter("apply", otter.topology(MESH))
    assert verdict(otter)["valid"]
    with traffic(otter):
        wait_for(lambda: otter.json("status")["links"][0]["counters"]["packets"], "no traffic")
        with quota(helper(otter), 0.02):
            wait_for(lambda: not verdict(otter)["valid"], "nobody noticed")
    found = {doubt["cause"]: doubt for doubt in verdict(otter)["why"]}
    assert found.keys() & {"late", "waiting"}
    some = next(iter(found.values()))
    assert "more than 3 ms late" in some["text"] or "over 3 ms" in some["text"]
    assert "quota" in some["text"]

    assert "this run is not what was asked for" in otter("status").stderr
    events = [json.loads(line) for line in otter("events", "--json").stdout.splitlines()]
    told = [event for event in events if event["kind"] == "fidelity"]
    assert told[0]["state"] == "invalid"
    assert told[0]["data"]["cause"] in found

    otter.kill_agent()
    otter.serve()
    assert not verdict(otter)["valid"]  # for good
    done = otter("destroy", "--yes", "--json")
    assert "this run is not what was asked for" in done.stderr
    kept = json.loads((Path(json.loads(done.stdout)["folder"]) / "fidelity.json").read_text())
    assert kept["valid"] is False
    assert kept["why"]


def test_another_run_is_valid_again_and_a_helper_that_ends_is_a_gap(otter: Otter) -> None:
    otter("apply", otter.topology(MESH))
    os.kill(helper(otter), signal.SIGKILL)
    wait_for(lambda: not verdict(otter)["valid"], "the gap wasn't noticed")
    assert [doubt["cause"] for doubt in verdict(otter)["why"]] == ["gap"]
    assert "nothing passed for" in verdict(otter)["why"][0]["text"]
    run = verdict(otter)["run"]
    otter("destroy", "--yes")
    otter("apply", otter.topology(MESH))
    assert verdict(otter)["valid"]
    assert verdict(otter)["run"] != run


def test_what_plan_warns_of_is_what_happens(otter: Otter) -> None:
    text = MESH.replace("50mbit", "5gbit")
    planned = otter("plan", otter.topology(text)).stderr
    assert "warning: the links' rates add up to 10gbit" in planned
    assert "lower the rates" in planned
    assert "add up" not in otter("plan", otter.topology(MESH)).stderr
    otter("apply", otter.topology(text))
    with traffic(otter, FLOOD):
        wait_for(lambda: not verdict(otter)["valid"], "it was carried after all")
    assert {doubt["cause"] for doubt in verdict(otter)["why"]} & {"overrun", "waiting", "late"}
