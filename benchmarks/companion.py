"""How late bare timers are in the seconds in which something else is measured: the limit of that.

A process of its own that does nothing but sleep until its next moment, before all that is measured
(SCHED_FIFO), and remembers the moments at which it was late. Where that one was late nothing on
this processor can have been in time.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass, field

EVERY_S = 0.002
"""Between two of its moments: costs about a hundredth of a processor."""
NOTED_S = 0.001
_PRIORITY = 20


@dataclass(slots=True)
class Seen:
    """What it saw.

    Attributes:
        late: Moments (CLOCK_MONOTONIC) at which it should have gone on, and by how much it was
            later: those of more than `NOTED_S`, in order.
        worst_s: The latest of all.
        p99_s: Later than this was one in a hundred.
    """

    late: list[tuple[float, float]] = field(default_factory=list)
    worst_s: float = 0.0
    p99_s: float = 0.0

    def held_up(self, since_s: float, until_s: float) -> float:
        """For how long of a stretch nobody had the processor."""
        place = bisect_left(self.late, (since_s, 0.0))
        held = 0.0
        for due, late in self.late[max(0, place - 1) :]:
            if due >= until_s:
                break
            held += max(0.0, min(due + late, until_s) - max(due, since_s))
        return held


@contextlib.contextmanager
def beside() -> Iterator[Seen]:
    """Have it run; what it saw is there at the end."""
    seen = Seen()
    argv = [sys.executable, "-m", "benchmarks.companion"]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            process.stdout.readline()  # it runs
            yield seen
        finally:
            process.stdin.close()
            found = json.loads(process.stdout.read())
    seen.late = [(due, late) for due, late in found["late"]]
    seen.worst_s, seen.p99_s = found["worst_s"], found["p99_s"]


def main() -> None:
    """Until standard input ends."""
    with contextlib.suppress(OSError):
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(_PRIORITY))
    print("running", flush=True)
    os.set_blocking(0, False)
    all_late: list[float] = []
    noted: list[tuple[float, float]] = []
    due = time.monotonic()
    while True:
        due += EVERY_S
        if (left := due - time.monotonic()) > 0:
            time.sleep(left)
        late = time.monotonic() - due
        all_late.append(late)
        if late > NOTED_S:
            noted.append((due, late))
            due += late // EVERY_S * EVERY_S  # what it missed meanwhile is one
        if len(all_late) % 50 == 0 and _has_ended():
            break
    all_late.sort()
    found = {"late": noted, "worst_s": all_late[-1], "p99_s": all_late[len(all_late) * 99 // 100]}
    print(json.dumps(found))


def _has_ended() -> bool:
    try:
        return os.read(0, 1) == b""
    except BlockingIOError:
        return False


if __name__ == "__main__":
    main()
