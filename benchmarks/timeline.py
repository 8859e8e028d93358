"""A thousand link changes a second: what they cost the agent, and how late they are.

50 links play traces both ways, 10 values a second each, each direction at times of its own, so that
there is a change each ms. The agent's share of a core is utime + stime of its process; the links'
helper, which carries links in user space and changes those of the kernel, is told beside it, and
both together. Lateness is until the driver has confirmed a change, over all changes from the epoch
on; a bare timer that runs before all else in the same seconds (companion.py) is its limit. Nothing
is started meanwhile.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import socket
import subprocess
import time
from csv import DictReader
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import companion
from benchmarks.mesh import agent, cpu_s, run
from benchmarks.row import NotHere, Row
from otter_agent.links.realtime import counts_in_ticks

LINKS = 50
PER_SECOND = 10
CHANGES_PER_S = LINKS * 2 * PER_SECOND
SECONDS = 60.0
CPU_GOAL = 0.2
LATE_GOAL_S = 0.005


@dataclass(slots=True)
class Found:
    """What a run gave.

    Attributes:
        agent: Cores that the agent used.
        helper: Cores that the links' helper used beside; None: there is none.
        rate: Changes a second.
        late_s: Of each change how late it was, sorted.
        own_s: The same less the time in which a bare timer wasn't let run either, sorted.
        bare: That timer.
    """

    agent: float
    helper: float | None
    rate: float
    passed: int
    failed: int
    late_s: list[float]
    own_s: list[float]
    bare: companion.Seen


def rows() -> list[Row]:
    """Share of a core, and lateness, with a thousand changes a second for a minute."""
    if os.geteuid() != 0:
        raise NotHere("needs root")
    return told(measure(SECONDS), SECONDS)


def measure(seconds: float) -> Found:
    """With an agent of its own."""
    with agent() as (otterctl, folder):
        (folder / "fast.csv").write_text(trace())
        file = folder / "many.toml"
        file.write_text(topology())
        with companion.beside() as bare:
            run(otterctl, "apply", str(file))
            pid = int((folder / "a" / "run" / "agent.pid").read_text())
            helper = _helper(pid)
            before, start = _shown(folder), time.monotonic()
            used, beside = cpu_s(pid), cpu_s(helper) if helper else 0.0
            time.sleep(seconds)
            passed_s = time.monotonic() - start
            used, beside = cpu_s(pid) - used, cpu_s(helper) - beside if helper else 0.0
            after = _shown(folder)
        run(otterctl, "timeline", "pause")
        changes = _changes(folder, after["position_s"])
    zero_s = time.monotonic() - (time.time() - after["epoch"])
    return Found(
        agent=used / passed_s,
        helper=beside / passed_s if helper else None,
        rate=(after["lateness"]["changes"] - before["lateness"]["changes"])
        / (after["position_s"] - before["position_s"]),
        passed=after["lateness"]["passed"],
        failed=after["lateness"]["failed"],
        late_s=sorted(applied - at for at, applied in changes),
        own_s=sorted(
            applied - at - bare.held_up(zero_s + at, zero_s + applied) for at, applied in changes
        ),
        bare=bare,
    )


def _changes(folder: Path, until_s: float) -> list[tuple[float, float]]:
    """When each change was due, and when it was in force, from the epoch; at it nothing changes."""
    (record,) = folder.rglob("timeline.csv")
    with record.open() as file:
        found = [(float(r["at_s"]), float(r["applied_s"] or "inf")) for r in DictReader(file)]
    return [(at, applied) for at, applied in found if 0 < at < until_s]


def _shown(folder: Path) -> dict[str, Any]:
    """Where the timeline stands, asked without another program: to start one holds all up."""
    connection = http.client.HTTPConnection("agent")
    connection.sock = socket.socket(socket.AF_UNIX)
    with contextlib.closing(connection):
        connection.sock.connect(str(folder / "a" / "run" / "agent.sock"))
        connection.request("GET", "/v1/meshes/many/timeline?last=0&next=0")
        return dict(json.loads(connection.getresponse().read()))


def _helper(agent_pid: int) -> int | None:
    """The process that carries links in user space, or changes those of the kernel."""
    children = Path(f"/proc/{agent_pid}/task/{agent_pid}/children").read_text().split()
    for thread in Path(f"/proc/{agent_pid}/task").iterdir():
        children += (thread / "children").read_text().split()
    for child in map(int, children):
        words = Path(f"/proc/{child}/cmdline").read_bytes().split(b"\0")
        if {b"--links", b"--netem"} & set(words):
            return child
    return None


def told(found: Found, seconds: float) -> list[Row]:
    """As rows."""
    count, late = len(found.late_s), found.late_s
    note = f"{found.rate:.0f} changes/s; {found.passed} passed over, {found.failed} failed"
    if counts_in_ticks():
        note += "; this kernel samples processor time, each 10 ms: cores are a guess"
    what = f"{CHANGES_PER_S} link changes/s for {seconds:g} s"
    beyond = sum(one > LATE_GOAL_S for one in late)
    own = sum(one > LATE_GOAL_S for one in found.own_s)
    most = (
        f"{beyond} of {count} later than {LATE_GOAL_S * 1e3:g} ms; less what held up a bare timer"
    )
    most += f" in the same seconds, {own}, {found.own_s[-1] * 1e3:.1f} ms at most"
    rows = [_row(f"{what}: cores of the agent", "1", found.agent, CPU_GOAL, 1, note)]
    if found.helper is not None:
        both = found.agent + found.helper
        rows.append(_row(f"{what}: cores of the agent and its helper", "1", both, CPU_GOAL, 1))
    return [
        *rows,
        _row(f"{what}: late, median", "s", late[count // 2], None, count),
        _row(
            f"{what}: late, 99th percentile", "s", late[int(count * 0.99)], LATE_GOAL_S, count,
            limit=found.bare.p99_s,
        ),
        _row(
            f"{what}: late, at most", "s", late[-1], LATE_GOAL_S, count, most,
            limit=found.bare.worst_s,
        ),
    ]  # fmt: skip


def _row(
    name: str, unit: str, ours: float, goal: float | None, n: int, note: str = "",
    limit: float | None = None,
) -> Row:  # fmt: skip
    row: Row = {
        "name": name, "unit": unit, "better": "lower", "ours": ours, "peers": {}, "limit": limit,
        "goal": goal, "n": n,
    }  # fmt: skip
    return row | {"note": note} if note else row


def trace() -> str:
    """10 s, looped; each value is another than the one before."""
    lines = ["time,delay_ms,rate_mbit"]
    lines += [f"{n / PER_SECOND},{10 + n % 50},{10 + n}" for n in range(10 * PER_SECOND)]
    return "\n".join(lines) + "\n"


def topology() -> str:
    """A star; each link is what the trace begins with, and goes on from elsewhere in it."""
    text = 'name = "many"\n[defaults.link]\ndelay = "10ms"\nrate = "10mbit"\n'  # as it begins
    text += "[hosts.hub]\n[hosts.leaf]\n"
    text += f'count = {LINKS}\n[modules.m]\nhost = "hub"\nruntime = "process"\n'
    text += 'command = ["sleep", "1000000"]\n'
    for number in range(1, LINKS + 1):
        forth, back = (number * 2 / CHANGES_PER_S, (number * 2 + 1) / CHANGES_PER_S)
        text += f'[[links]]\nbetween = ["leaf-{number}", "hub"]\n'
        text += f'trace = {{ file = "fast.csv", offset = "{forth}s" }}\n'
        text += f'reverse = {{ trace = {{ file = "fast.csv", offset = "{back}s" }} }}\n'
    return text


def shown(otterctl: list[str]) -> dict[str, Any]:
    """Where the timeline stands."""
    command = [*otterctl, "timeline", "show", "--json", "--last", "0", "--next", "0"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return dict(json.loads(done.stdout))
