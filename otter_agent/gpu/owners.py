"""Whose processes use a GPU: a pid's control group is a module's, or below it.

NVML tells pids of the machine's own pid namespace. Where modules have no groups of their own, a
process is its ancestors' module's. Source: cgroups(7), proc_pid_status(5).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import msgspec

from otter_agent import api

_DEEPEST = 64
"""Ancestors that are looked at."""


@dataclass(frozen=True, slots=True)
class Running:
    """A module that runs, with the pid of its first process."""

    mesh: str
    module: str
    pid: int


class Owners:
    """Of processes, at one moment.

    Args:
        running: All modules that run here.
        proc: Where procfs is.
    """

    def __init__(self, running: Iterable[Running], proc: Path = Path("/proc")) -> None:
        self._proc = proc
        self._by_pid = {one.pid: one for one in running}
        groups = {pid: self._group(pid) for pid in self._by_pid}
        shared = Counter(groups.values())
        self._by_group = {
            group: self._by_pid[pid]
            for pid, group in groups.items()
            if group and group != "/" and shared[group] == 1
        }

    def told(self, process: api.GpuProcess) -> api.GpuProcess:
        """With its name and its module."""
        owner = self._of(process.pid)
        return msgspec.structs.replace(
            process,
            name=self._read(process.pid, "comm").strip(),
            mesh=owner.mesh if owner else "",
            module=owner.module if owner else "",
        )

    def _of(self, pid: int) -> Running | None:
        path = self._group(pid)
        while path:
            if path in self._by_group:
                return self._by_group[path]
            path = path.rpartition("/")[0]
        for _ in range(_DEEPEST):
            if pid in self._by_pid:
                return self._by_pid[pid]
            pid = self._parent(pid)
            if pid <= 1:
                break
        return None

    def _group(self, pid: int) -> str:
        """The deepest of its groups; "" if it has ended."""
        lines = self._read(pid, "cgroup").splitlines()
        return max((line.split(":", 2)[-1] for line in lines), key=_depth, default="")

    def _parent(self, pid: int) -> int:
        for line in self._read(pid, "status").splitlines():
            if line.startswith("PPid:"):
                return int(line.split()[1])
        return 0

    def _read(self, pid: int, name: str) -> str:
        with suppress(OSError):
            return (self._proc / str(pid) / name).read_text(errors="replace")
        return ""


def _depth(path: str) -> int:
    return path.count("/") if path != "/" else 0


def with_owners(state: api.GpuState, running: Iterable[Running]) -> api.GpuState:
    """The state, each process with whose it is."""
    if not any(gpu.processes for gpu in state.gpus):
        return state
    owners = Owners(running)
    gpus = tuple(
        msgspec.structs.replace(gpu, processes=tuple(map(owners.told, gpu.processes)))
        for gpu in state.gpus
    )
    return msgspec.structs.replace(state, gpus=gpus)
