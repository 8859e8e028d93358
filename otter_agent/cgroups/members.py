"""Who is in a control group, and how to end them all. Standard library only, import-light.

Shared with the process launcher, which is why it knows directories and not `Cgroups`. Where there
are no control groups, `see:FILE` stands for one: those who see that file as their /etc/hosts.
"""

from __future__ import annotations

import contextlib
import os
import signal

SEEING = "see:"
_ROUNDS = 100
"""Of looking for processes that were begun meanwhile."""


def pids(directory: str) -> set[int]:
    """Processes in the group at `directory` and below; zombies don't count. Absent: empty."""
    if directory.startswith(SEEING):
        return _seeing(directory.removeprefix(SEEING))
    found: set[int] = set()
    for path in _walk(directory):
        with contextlib.suppress(OSError), open(f"{path}/cgroup.procs") as procs:
            found.update(int(line) for line in procs)
    found.discard(0)  # what a member of another pid namespace looks like
    return found


def tell(directory: str, number: int) -> None:
    """Send a signal to everything in the group and below, and to what is begun meanwhile.

    Gives up on a group that forks faster than it can be read.
    """
    told: set[int] = set()
    for _ in range(_ROUNDS):
        fresh = pids(directory) - told
        if not fresh:
            return
        for pid in fresh:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
        told |= fresh


class Kill:
    """SIGKILL to everything in a group, in steps that never block.

    v2 has a file for it. On v1 a process can fork while we go through the list, so forking is
    forbidden first (pids.max 0; freezing would do as well but isn't mounted everywhere) and the
    list is worked off until it is empty.
    """

    def __init__(self, directory: str) -> None:
        self.directory = directory
        self._limit: str | None = None
        self._limited = False

    def step(self) -> bool:
        """Kill who is there; True once nobody is. Call again while False."""
        there = pids(self.directory)
        if not there:
            self._restore()
            return True
        if self._write("cgroup.kill", "1"):
            return False
        self._forbid_forks()
        for pid in there:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return False

    def _forbid_forks(self) -> None:
        if self._limited:
            return
        self._limited = True
        with contextlib.suppress(OSError), open(f"{self.directory}/pids.max") as file:
            self._limit = file.read().strip()
            self._write("pids.max", "0")

    def _restore(self) -> None:
        if self._limit is not None:
            self._write("pids.max", self._limit)
            self._limit = None

    def _write(self, name: str, text: str) -> bool:
        try:
            fd = os.open(f"{self.directory}/{name}", os.O_WRONLY)
        except OSError:
            return False
        try:
            os.write(fd, text.encode())
        except OSError:
            return False
        finally:
            os.close(fd)
        return True


def oom_kills(path: str) -> int:
    """The counter `oom_kill` in a v1 memory.oom_control or a v2 memory.events; 0 if absent."""
    with contextlib.suppress(OSError), open(path) as file:
        for line in file:
            name, _, value = line.partition(" ")
            if name == "oom_kill":
                return int(value)
    return 0


def _seeing(file: str) -> set[int]:
    """Who is shown a file as /etc/hosts; not who sees it under its own name only."""
    found: set[int] = set()
    with contextlib.suppress(OSError):
        wanted = os.stat(file)
        for name in filter(str.isdecimal, os.listdir("/proc")):
            with contextlib.suppress(OSError):  # it ended, is a zombie, or somebody else's
                there = os.stat(f"/proc/{name}/root/etc/hosts")
                if os.path.samestat(wanted, there):
                    found.add(int(name))
    return found


def _walk(directory: str) -> list[str]:
    """The group and all below it, parents first."""
    found = [directory]
    for path in found:
        with contextlib.suppress(OSError), os.scandir(path) as entries:
            found.extend(e.path for e in entries if e.is_dir(follow_symlinks=False))
    return found
