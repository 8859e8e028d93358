"""Processes of a lab: started so that one killed half-way leaves none, found again, ended.

A process is known by its pid and the moment when it started, so that another one that has got its
pid later is never taken for it.
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from otter_ctl.lab.errors import LabError

READY = b"ready\n"
START_S = 20.0
END_S = 60.0
"""A machine that ends has each of its overlays written to the disk first, by the kernel."""


def note_own_pid(folder: Path) -> None:
    """What a process of a lab does first."""
    pid = os.getpid()
    (folder / "pid").write_text(f"{pid} {_started(pid)}\n")


def running(folder: Path) -> int | None:
    """The pid of the process that noted itself there; None: it has ended."""
    try:
        pid, started = (folder / "pid").read_text().split()
    except (OSError, ValueError):
        return None
    return int(pid) if _started(int(pid)) == started else None


def _started(pid: int) -> str:
    """Clock ticks since the computer's start; "": there is no such process, or it is a zombie."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] in "ZX" else fields[19]


class Starting:
    """A process of a lab on its way.

    It keeps the lab's lock until `go`, so nobody looks for it too early, nor takes one for running
    that is about to end: it does if whoever starts it ends before `go`.
    """

    def __init__(self, folder: Path, module: str, group: str, lock: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._log = folder / "log"
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", module, str(folder)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                start_new_session=True,
                pass_fds=(lock,),
                env=_environment(group, lock),
                cwd="/",
            )
        self.pid = self._process.pid

    def wait(self, what: str) -> None:
        """Until it says that it is ready. Raises LabError."""
        assert self._process.stdout is not None
        there, _, _ = select.select([self._process.stdout], [], [], START_S)
        if not there or os.read(self._process.stdout.fileno(), 64) != READY:
            self.stop()
            said = self._log.read_text(errors="replace").strip().splitlines()
            why = said[-1] if said else f"didn't start within {START_S:.0f} s"
            raise LabError(f"{what}: {why}", hint=f"its log: {self._log}")

    def go(self) -> None:
        """Let it go on by itself."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(b"go\n")
            self._process.stdin.close()
        except BrokenPipeError:
            pass  # it has ended, and whoever looks will see that
        self._process.stdout.close()
        self._process.returncode = 0  # not waited for: it outlives this process

    def stop(self) -> None:
        """End it."""
        self._process.kill()
        self._process.wait()


def _environment(group: str, lock: int) -> dict[str, str]:
    kept = ("PATH", "LANG", "LC_ALL", "HOME", "PYTHONPATH", "PYTHONDONTWRITEBYTECODE")
    own = os.environ.items()
    chosen = {name: value for name, value in own if name in kept or name.startswith("PIP_")}
    return {**chosen, "OTTER_LAB_GROUP": group, "OTTER_LAB_LOCK": str(lock)}


def release_lock() -> None:
    """What a process of a lab does once it may go on by itself."""
    os.close(int(os.environ["OTTER_LAB_LOCK"]))


def kill(pids: Iterable[int]) -> None:
    """At once; those that are gone are fine."""
    for pid in pids:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue


def wait_until(done: Callable[[], bool], what: str, within_s: float = END_S) -> None:
    """Until something is so of which nobody tells. Raises LabError."""
    deadline, pause = time.monotonic() + within_s, 0.001
    while not done():
        if time.monotonic() > deadline:
            raise LabError(f"{what} within {within_s:.0f} s")
        time.sleep(pause)
        pause = min(2 * pause, 0.05)
