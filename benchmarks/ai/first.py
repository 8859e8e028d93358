"""From a fresh clone to a spoken answer: `make demo`, and the same again.

The clone has neither a virtual environment nor anything built: all is made anew, in a folder of its
own, from packages that pip has in its cache or gets from where it is configured to, models' weights
among them. What the clone holds is what was committed. It takes some 6 GB of the disk meanwhile,
and minutes.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from benchmarks.afterwards import afterwards, scratch, tied
from benchmarks.row import NotHere, Row
from examples.demo import MESH, OTTERCTL, ROOT

FIRST_GOAL_S = 300.0
AGAIN_GOAL_S = 60.0
ENDED_WITHIN_S = 90.0
MARKS = {"runtime: ": "set up", "ready after": "all ready", "answer: ": "answered"}
"""How a line of `make demo` begins -> what has been done then."""
ANSWERED = MARKS["answer: "]


def rows() -> list[Row]:
    """The first time, and the second."""
    if os.geteuid() != 0:
        raise NotHere("needs root")
    if not (ROOT / ".git").exists():
        raise NotHere("this is no clone")
    with scratch() as folder:
        clone, root = folder / "clone", folder / "root"
        with afterwards(lambda: _gone(clone, root)):
            began = time.perf_counter()
            subprocess.run(tied(["git", "clone", "--quiet", str(ROOT), str(clone)]), check=True)
            cloned = {"cloned": time.perf_counter() - began}
            first = _spoken("the first time", clone, root, folder / "log-1", cloned)
            again = _spoken("the second time", clone, root, folder / "log-2", {})
    return [
        _row("packages cached", first, FIRST_GOAL_S), _row("the second time", again, AGAIN_GOAL_S),
    ]  # fmt: skip


def _row(which: str, took: Mapping[str, float], goal: float) -> Row:
    return Row(
        name=f"a fresh clone to a spoken answer, {which}", unit="s", better="lower",
        ours=took[ANSWERED], peers={}, limit=None, goal=goal, n=1,
        note=", ".join(f"{what} after {when:.0f} s" for what, when in took.items()),
    )  # fmt: skip


def _spoken(
    which: str, clone: Path, root: Path, log: Path, so_far: Mapping[str, float]
) -> dict[str, float]:
    """Seconds from the beginning, or from `make demo`, until each of MARKS, as it is reached."""
    env = {**os.environ, "OTTER_ROOT": str(root), "OTTER_RUNS": str(root / "runs")}
    env["PYTHONUNBUFFERED"] = "1"
    took, before = dict(so_far), sum(so_far.values())
    began = time.perf_counter()
    with (
        log.open("w") as errors,
        subprocess.Popen(
            tied(["make", "demo"]), cwd=clone, env=env, stdin=subprocess.DEVNULL, text=True,
            stdout=subprocess.PIPE, stderr=errors,
        ) as demo,
    ):  # fmt: skip
        assert demo.stdout is not None
        for line in demo.stdout:
            if what := marked(line):
                took.setdefault(what, before + time.perf_counter() - began)
                print(f"  {which}: {took[what]:5.0f} s {line.strip()}", file=sys.stderr, flush=True)
    if demo.returncode or ANSWERED not in took:
        raise RuntimeError(f"make demo failed: {log.read_text()[-2000:]}")
    return took


def marked(line: str) -> str | None:
    """What has been done when `make demo` prints this line."""
    return next((what for start, what in MARKS.items() if line.startswith(start)), None)


def _gone(clone: Path, root: Path) -> None:
    """Nothing runs any more: neither the demo, which ends its mesh by itself, nor its agent."""
    _until(lambda: not _working_in(clone))
    with contextlib.suppress(OSError, ValueError):
        pid = int((root / "run" / "agent.pid").read_text())
        os.kill(pid, 0)
        command = [str(OTTERCTL), "--root", str(root), "destroy", "-m", MESH, "--yes", "--no-fetch"]
        subprocess.run(command, capture_output=True, check=False)  # there is none but by a fault
        os.kill(pid, signal.SIGTERM)  # it would else stay for a minute
        _until(lambda: not Path(f"/proc/{pid}").exists())


def _working_in(clone: Path) -> list[int]:
    """Processes whose folder is the clone."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if (process / "cwd").readlink() == clone:
                found.append(int(process.name))
    return found


def _until(done: Callable[[], bool]) -> None:
    deadline = time.monotonic() + ENDED_WITHIN_S
    while not done() and time.monotonic() < deadline:
        time.sleep(0.1)
