"""Measure commands side by side: runs alternate, so that a busy moment hits all of them alike."""

from __future__ import annotations

import statistics
import subprocess
import time
from collections.abc import Mapping, Sequence


def medians(commands: Mapping[str, Sequence[str]], n: int) -> dict[str, float]:
    """Median seconds from start to exit of each command, over `n` rounds after one to warm up.

    Raises:
        subprocess.CalledProcessError: A command failed.
    """
    seconds: dict[str, list[float]] = {name: [] for name in commands}
    for turn in range(n + 1):
        for name, argv in commands.items():
            took = once(argv)
            if turn:
                seconds[name].append(took)
    return {name: statistics.median(values) for name, values in seconds.items()}


def once(argv: Sequence[str]) -> float:
    """Seconds of one run."""
    start = time.perf_counter()
    subprocess.run(
        argv,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        check=True,
    )
    return time.perf_counter() - start
