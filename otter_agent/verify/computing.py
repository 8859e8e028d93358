"""Bursts of CPU work inside a host's budget: do they take the time that the budget says?

A process enters a group below the host's and computes until it has used so much CPU time; a host
of half a core shall need twice as long. Where the host's modules compute meanwhile nothing is
judged: they share the budget.
"""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from net.links.verify import intervals
from net.links.verify.intervals import Estimate
from net.links.verify.judge import Finding, Judge, confirmed, worth_repeating
from otter_agent import api
from otter_agent.verify.jobs import HostJob
from otter_agent.verify.rows import row

WORK_S = (0.005, 0.02, 0.05, 0.2)
_JUDGED_FROM_S = 0.02
"""Shorter work fits into what is left of the period in which it begins."""
LONGEST_S = {"quick": 1.0, "normal": 3.0, "thorough": 10.0}
"""Of all bursts of one length together; the least number of them may take four times that."""
_MOST, _LEAST = 15, 3
_OTHERS = 0.02
"""Share of the budget that others may use while it still counts as measured."""

# It reads all it needs first and enters the group last: what Python's start takes isn't measured.
_BURSTS = """
import json, sys, time
files, work, count = json.loads(sys.argv[1])
for path in files:
    with open(path, "w") as file:
        file.write("0")
took, entered = [], time.process_time()
for _ in range(count):
    time.sleep(0.05)
    start, until = time.monotonic(), time.thread_time() + work
    while time.thread_time() < until:
        pass
    took.append(time.monotonic() - start)
print(json.dumps([took, time.process_time() - entered]))
"""


@dataclass(frozen=True, slots=True)
class _Took:
    """Bursts of one length.

    Attributes:
        times: How long each took.
        others_s: CPU time that the rest of the host used meanwhile.
    """

    times: list[float]
    others_s: float


def rows(host: HostJob, judge: Judge, effort: api.Effort) -> list[api.VerifyRow]:
    """The lines of one host's certificate."""
    found = []
    for work_s in WORK_S:
        asked = work_s / min(1.0, host.cores or 1.0)
        count = min(_MOST, max(_LEAST, int(LONGEST_S[effort] / asked)))
        if asked * count > 4 * LONGEST_S[effort]:
            break  # a tiny budget: it would take minutes
        findings = [_finding(host, work_s, count, judge)]
        if worth_repeating(findings):
            findings = confirmed(findings, [_finding(host, work_s, count, judge)])
        found += [row("", host.name, host.name, finding) for finding in findings]
    return found


def _finding(host: HostJob, work_s: float, count: int, judge: Judge) -> Finding:
    took = _run(host, work_s, count)
    asked = work_s / min(1.0, host.cores or 1.0)
    estimate = _middle(took.times)
    note = f"for {work_s * 1000:g} ms of work"
    busy = took.others_s / (asked * count * (host.cores or 1.0))
    if busy > _OTHERS:
        note += f"; modules used {busy:.0%} of the host meanwhile"
    elif work_s >= _JUDGED_FROM_S and host.cores is not None:
        return judge.verdict("cpu", asked, estimate, note)
    return Finding(property="cpu", asked=asked, estimate=estimate, note=f"{note}: not judged")


def _middle(took: list[float]) -> Estimate | None:
    return intervals.median(np.array(took)) if took else None


def _run(host: HostJob, work_s: float, count: int) -> _Took:
    argument = json.dumps([host.procs_files, work_s, count])
    before = _used_s(host.usage_file)
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", _BURSTS, argument],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=False,
    )  # fmt: skip
    if done.returncode:
        return _Took([], 0.0)
    times, own_s = json.loads(done.stdout)
    others = _used_s(host.usage_file) - before - own_s
    return _Took(times, max(0.0, others) if host.usage_file else 0.0)


def _used_s(path: str) -> float:
    """CPU time of a group so far; 0 where that can't be read."""
    try:
        text = Path(path).read_text() if path else ""
    except OSError:
        return 0.0
    if text.strip().isdigit():  # v1: cpuacct.usage
        return int(text) / 1e9
    words = dict(line.split() for line in text.splitlines() if line.count(" ") == 1)
    return int(words.get("usage_usec", 0)) / 1e6  # v2: cpu.stat
