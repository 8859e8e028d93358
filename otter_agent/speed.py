"""How fast one core of this machine is: a fixed piece of work, timed once and remembered.

    python -m otter_agent.speed        # in a process of its own: prints the speed

Integers: bzip2 of a text that is always the same; floating point: Fourier transforms of doubles,
which numpy does without vector units. Each of several short runs is timed by its thread's CPU time,
so that others at work disturb little, and the quickest counts. 1 is a core that Geekbench 6 scores
with 2500 points. Must not know: hosts, budgets, where it is kept.
"""

from __future__ import annotations

import bz2
import math
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from otter_agent.once import Once

VERSION = 1
"""Of the work: what was measured by another is measured again."""
RUNS = 7
INTEGER_S = 0.00594
"""What the integer work takes a core of speed 1. Source: an AMD EPYC of the fourth generation at
3.7 GHz, which Geekbench 6 scores with about 2000 points, times 0.8: sure within a fifth."""
FLOATING_S = 0.0051
"""Likewise the floating-point work."""
LIMIT_S = 30.0
_TEXT_BYTES = 1 << 17
_POINTS = 1 << 15
_TIMES = 12


def of_machine(file: Path) -> Once:
    """The speed of this machine's cores, kept in a file."""
    return Once(file, VERSION, measured_apart)


def measured() -> float:
    """The speed of a core of this machine; takes about a quarter of a second."""
    ratios = (INTEGER_S / _best(_integer()), FLOATING_S / _best(_floating()))
    return math.sqrt(math.prod(ratios))


def _integer() -> Callable[[], object]:
    state, text = 1, bytearray()
    while len(text) < _TEXT_BYTES:  # words of a small language, never the same twice in a row
        state = (state * 1103515245 + 12345) % (1 << 31)
        text += b"%x " % (state % 4093)
    data = bytes(text[:_TEXT_BYTES])
    return lambda: bz2.compress(data, 1)


def _floating() -> Callable[[], object]:
    import numpy as np

    values = np.arange(_POINTS, dtype=np.float64) % 977

    def work() -> object:
        found = values
        for _ in range(_TIMES):
            found = np.fft.irfft(np.fft.rfft(found) * 0.5)
        return found

    return work


def _best(work: Callable[[], object]) -> float:
    took = math.inf
    for _ in range(RUNS):
        before = time.thread_time()
        work()
        took = min(took, time.thread_time() - before)
    return took


def measured_apart() -> float:
    """Measured by a process of its own, so that an agent doesn't hold numpy.

    Raises:
        OSError: It can't be.
        ValueError: It said something else.
    """
    try:
        done = subprocess.run(
            [sys.executable, "-P", "-m", "otter_agent.speed"],
            stdin=subprocess.DEVNULL, capture_output=True, cwd="/", timeout=LIMIT_S, check=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )  # fmt: skip
    except subprocess.SubprocessError as error:
        raise OSError(str(error)) from error
    return float(done.stdout)


if __name__ == "__main__":
    print(measured())
