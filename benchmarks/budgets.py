"""Cores by budget: how much is had, how long bursts take, what the period costs, when changes hold.

One process computes in a group below a host's, as a module does; nothing else runs in it. Its share
is what the group used by the kernel's account. Bursts begin after a pause, so what they find of a
period is up to chance, as for an inference. Other periods than ours are peers: 100 ms is the
kernel's own. What throttling costs is work done for each second of processor time, beside the same
without a limit.
"""

from __future__ import annotations

import json
import os
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.mesh import agent, run
from benchmarks.row import NotHere, Row
from otter_agent.api import Budget
from otter_agent.cgroups import Cgroups, open_cgroups
from otter_agent.cgroups.quota import PERIOD_US, Quota
from otter_agent.errors import CgroupError

CORES = (0.25, 0.5, 1.0)
OVER_S = 5.0
SHARE_GOAL = 0.03
WORK_S = (0.005, 0.02, 0.05, 0.2)
JUDGED_FROM_S = 0.02
BURST_GOAL = 0.15
BURSTS = 15
PERIODS_US = (2_500, 5_000, 10_000, 20_000, 100_000)
COST_S = 2.0
CHANGES = 20
CHANGE_GOAL_S = 0.1
LONGEST_S = 30.0
CHANGED: tuple[tuple[str, str, str, str, tuple[float, float]], ...] = (
    ("a host's cores", "host", "h", "cpu", (0.5, 0.25)),
    ("a host's memory", "host", "h", "memory_bytes", (1 << 30, 1 << 29)),
    ("what a host receives", "host", "h", "in_bps", (16e6, 8e6)),
    ("a module's cores", "module", "m", "cpu", (0.2, 0.1)),
    ("a module's memory", "module", "m", "memory_bytes", (1 << 28, 1 << 27)),
    ("what a module sends", "module", "m", "out_bps", (16e6, 8e6)),
)
"""What it is called, whose it is, its field, and the two values that it has by turns."""
_MESH = """
name = "one"
[hosts.h]
cpu = 1
[modules.m]
runtime = "process"
host = "h"
command = ["sleep", "1000"]
"""
_EVENTS = """
[[events]]
at = "0s"
host = "h"
set = { cpu = 0.25 }
for = "100ms"
every = "200ms"
[[events]]
at = "50ms"
module = "m"
set = { network = { out = "8mbit" } }
for = "100ms"
every = "200ms"
"""
_GROUP = "bench/host/module"

# Reads a line `bursts WORK COUNT` or `work CPU_SECONDS`, says what it took, reads the next.
_WORKER = """
import json, sys, time
for path in json.loads(sys.argv[1]):
    with open(path, "w") as file:
        file.write("0")
def spin(cpu_s):
    rounds, until = 0, time.thread_time() + cpu_s
    while time.thread_time() < until:
        for _ in range(200):
            pass
        rounds += 1
    return rounds
print("in", flush=True)
for line in sys.stdin:
    what, amount, count = line.split()
    told = []
    for _ in range(int(count)):
        if what == "bursts":
            time.sleep(0.0503)
        wall, cpu = time.monotonic(), time.thread_time()
        rounds = spin(float(amount))
        told.append([time.monotonic() - wall, time.thread_time() - cpu, rounds])
    print(json.dumps(told), flush=True)
"""
Ask = Callable[[str, float, int], list[list[float]]]


def rows() -> list[Row]:
    """Rows of all of it."""
    if os.geteuid() != 0:
        raise NotHere("needs root")
    try:
        cgroups = open_cgroups("bench-budgets")
    except CgroupError as error:
        raise NotHere(str(error)) from error
    try:
        with _worker(cgroups) as ask:
            found = [*_shares(cgroups), *_bursts(cgroups, ask), *_periods(cgroups, ask)]
    finally:
        cgroups.kill("")
        cgroups.remove("")
    return [*found, *_changes()]


@contextmanager
def _worker(cgroups: Cgroups) -> Iterator[Ask]:
    """A process in the group that does what it is asked."""
    cgroups.ensure("bench/host", Budget())
    cgroups.ensure(_GROUP, Budget())
    files = json.dumps([str(path) for path in cgroups.procs_files(_GROUP)])
    child = subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", _WORKER, files],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert child.stdin is not None
    assert child.stdout is not None
    to, of = child.stdin, child.stdout

    def ask(what: str, amount: float, count: int) -> list[list[float]]:
        to.write(f"{what} {amount} {count}\n")
        to.flush()
        told: list[list[float]] = json.loads(of.readline())
        return told

    try:
        assert of.readline() == "in\n"
        yield ask
    finally:
        child.kill()
        child.wait()
        to.close()
        of.close()


def _shares(cgroups: Cgroups) -> Iterator[Row]:
    """What a process that never rests gets, by the group's account."""
    for cores in CORES:
        cgroups.ensure("bench/host", Budget(cpu=cores))
        with _spinning(cgroups):
            before, began = _used(cgroups), time.monotonic()
            time.sleep(OVER_S)
            share = (_used(cgroups) - before) / (time.monotonic() - began)
        yield _row(f"{cores:g} core over {OVER_S:g} s: error", "1", abs(share / cores - 1),
                   goal=SHARE_GOAL)  # fmt: skip
    cgroups.ensure("bench/host", Budget())


@contextmanager
def _spinning(cgroups: Cgroups) -> Iterator[None]:
    enter = "".join(f"echo 0 > {path}; " for path in cgroups.procs_files(_GROUP))
    child = subprocess.Popen(["sh", "-c", f"{enter} while :; do :; done"])
    try:
        time.sleep(0.2)
        yield
    finally:
        child.kill()
        child.wait()


def _used(cgroups: Cgroups) -> float:
    used = cgroups.cpu_used_s("bench/host")
    if used is None:
        raise NotHere("nobody accounts for processor time here")
    return used


def _bursts(cgroups: Cgroups, ask: Ask) -> Iterator[Row]:
    for cores in CORES:
        cgroups.ensure("bench/host", Budget(cpu=cores))
        for work_s in WORK_S:
            took = statistics.median(one[0] for one in ask("bursts", work_s, BURSTS))
            asked = work_s / cores
            judged = work_s >= JUDGED_FROM_S
            yield _row(
                f"{work_s * 1000:g} ms of work at {cores:g} core, {asked * 1000:g} ms asked: error",
                "1", abs(took / asked - 1), goal=BURST_GOAL if judged else None, n=BURSTS,
                note=f"took {took * 1000:.1f} ms" + ("" if judged else "; reported, not judged"),
            )  # fmt: skip
    cgroups.ensure("bench/host", Budget())


def _periods(cgroups: Cgroups, ask: Ask) -> Iterator[Row]:
    """At half a core with several periods: 20 ms of work, and what a CPU second is worth."""
    _, cpu, rounds = ask("work", COST_S / 2, 1)[0]
    free = rounds / cpu
    took: dict[int, float] = {}
    lost: dict[int, float] = {}
    for period in PERIODS_US:
        _limit(cgroups, Quota(period // 2, period))
        bursts = ask("bursts", 0.02, BURSTS)
        took[period] = abs(statistics.median(one[0] for one in bursts) / 0.04 - 1)
        _, cpu, rounds = ask("work", COST_S / 2, 1)[0]
        lost[period] = 1 - rounds / cpu / free
    _limit(cgroups, None)
    for name, of in (("20 ms of work at half a core: error", took),
                     ("work lost for each CPU second at half a core", lost)):  # fmt: skip
        peers = {f"period {p / 1000:g} ms": v for p, v in of.items() if p != PERIOD_US}
        yield _row(f"{name}, period {PERIOD_US / 1000:g} ms", "1", of[PERIOD_US], peers=peers)


def _limit(cgroups: Cgroups, quota: Quota | None) -> None:
    cgroups._set_cpu("bench/host", quota)


def _changes() -> Iterator[Row]:
    """From a request to its answer, which comes once the kernel has it; of events, from their time.

    Twenty times each.
    """
    with agent() as (otterctl, folder):
        file = folder / "one.toml"
        file.write_text(_MESH)
        run(otterctl, "apply", str(file))
        for name, kind, subject, field, values in CHANGED:
            change = {"kind": kind, "name": subject}
            took = [
                _patch(folder / "a" / "run" / "agent.sock", change, field, values[number % 2])
                for number in range(CHANGES)
            ]
            yield _row(f"{name} changed by hand, until that is in force: latest", "s", max(took),
                       goal=CHANGE_GOAL_S, n=CHANGES)  # fmt: skip
        file.write_text(_MESH + _EVENTS)
        run(otterctl, "destroy", "--yes", "--no-fetch")
        run(otterctl, "apply", str(file))
        late = _lateness(otterctl)
        run(otterctl, "destroy", "--yes", "--no-fetch")
    yield _row("a host's cores and a module's rate changed by events, in force after: latest", "s",
               late["max_s"], goal=CHANGE_GOAL_S, n=late["changes"])  # fmt: skip


def _lateness(otterctl: list[str]) -> dict[str, Any]:
    """Of the timeline's changes, once there are enough."""
    until = time.monotonic() + LONGEST_S
    while time.monotonic() < until:
        time.sleep(1.0)
        shown = subprocess.run(
            [*otterctl, "timeline", "show", "--json"], capture_output=True, check=True
        )
        late: dict[str, Any] = json.loads(shown.stdout)["lateness"]
        if late["failed"]:
            raise RuntimeError(f"changes failed: {late}")
        if late["changes"] >= CHANGES:
            return late
    raise RuntimeError(f"the timeline made no {CHANGES} changes in {LONGEST_S:g} s")


def _patch(path: Path, change: dict[str, Any], field: str, value: float) -> float:
    body = json.dumps([{**change, "set": {field: value}}]).encode()
    head = (
        "PATCH /v1/meshes/one/budgets HTTP/1.1\r\nHost: otter\r\nConnection: close\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    began = time.monotonic()
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(str(path))
        sock.sendall(head.encode() + body)
        answer = b"".join(iter(lambda: sock.recv(1 << 16), b""))
    took = time.monotonic() - began
    told = json.loads(answer.partition(b"\r\n\r\n")[2])
    if told[0]["in_force"][field] != value:
        raise RuntimeError(f"{field} of {value} asked, in force: {told}")
    return took


def _row(
    name: str, unit: str, ours: float, *, goal: float | None = None, n: int = 1, note: str = "",
    peers: dict[str, float] | None = None,
) -> Row:  # fmt: skip
    row: Row = {
        "name": name, "unit": unit, "better": "lower", "ours": ours, "peers": peers or {},
        "limit": None, "goal": goal, "n": n,
    }  # fmt: skip
    if note:
        row["note"] = note
    return row
