"""cgroup v2: one tree for all controllers.

A group that hands controllers to its children can't hold processes itself ("no internal
processes"), so controllers are handed on by the parents of a group only: a module's group stays a
leaf, where processes may be.
"""

from __future__ import annotations

import errno
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import ClassVar, Literal

from otter_agent.api import Budget, asks_disks
from otter_agent.cgroups.base import Cgroups, too_small, write
from otter_agent.cgroups.disks import disks, io_max, limited, parse_io_max
from otter_agent.cgroups.quota import Quota
from otter_agent.errors import CgroupError

NEEDED = ("cpu", "memory", "pids")
OPTIONAL = ("dmem",)
"""Handed on where the kernel has it (Linux 6.14): there NVIDIA's driver limits memory of GPUs for
groups with files of it alone. Source: NVIDIA, "MPS v3 Memory Partitioning"."""
IO = "io.max"


class CgroupsV2(Cgroups):
    """Budgets in the one tree of cgroup v2.

    Args:
        agent_id: Part of the name of every group.
        mount: Where the tree is mounted.
        others: Mount points of further trees in which an engine may leave groups.
    """

    version: ClassVar[Literal["v1", "v2", "none"]] = "v2"

    def __init__(self, agent_id: str, mount: Path, others: list[Path] | None = None) -> None:
        super().__init__(agent_id)
        self._mount = mount
        self._all = [mount, *(others or [])]

    def read(self, group: str) -> Budget:
        """See base."""
        path = self._path(group)
        try:
            cpu = parse_cpu_max((path / "cpu.max").read_text())
            memory = (path / "memory.max").read_text().strip()
            pids = (path / "pids.max").read_text().strip()
            disks_now = _text(path / IO)
        except OSError as exc:
            raise self._error("read", group, exc) from exc
        return Budget(
            cpu=None if cpu is None else cpu.cores,
            period_s=None if cpu is None else cpu.period_us / 1e6,
            memory_bytes=None if memory == "max" else int(memory),
            pids=None if pids == "max" else int(pids),
            **parse_io_max(disks_now),
        )

    def procs_files(self, group: str) -> list[Path]:
        """See base."""
        return [self._path(group) / "cgroup.procs"]

    def kill_directory(self, group: str) -> Path:
        """See base."""
        return self._path(group)

    def oom_file(self, group: str) -> Path:
        """See base."""
        return self._path(group) / "memory.events"

    def usage_file(self, group: str) -> Path | None:
        """See base."""
        return self._path(group) / "cpu.stat"

    def memory_used(self, group: str) -> int:
        """See base."""
        path = self._path(group)
        stat = parse_flat((path / "memory.stat").read_text())
        current = int((path / "memory.current").read_text())
        cache = stat.get("file", 0) - stat.get("shmem", 0) + stat.get("slab_reclaimable", 0)
        return current - cache

    def _trees(self) -> list[Path]:
        return self._all

    def _memory_tree(self) -> tuple[Path | None, str]:
        return self._mount, ""

    def _path(self, group: str) -> Path:
        return self._mount / self._relative(group)

    def _make(self, group: str, needed: Sequence[str] = NEEDED) -> None:
        path = self._mount
        for name in self._relative(group).split("/"):
            self._hand_on(path, group, needed)
            _offer(path)
            path /= name
            path.mkdir(exist_ok=True)

    def _hand_on(self, path: Path, group: str, needed: Sequence[str]) -> None:
        """Give the children of `path` the controllers that we need."""
        control = path / "cgroup.subtree_control"
        missing = [c for c in needed if c not in control.read_text().split()]
        if not missing:
            return
        try:
            write(control, " ".join(f"+{c}" for c in missing))
        except OSError as exc:
            if exc.errno != errno.EBUSY:
                raise
            why = f"there are processes in {path} itself, so it can't pass on {', '.join(missing)}"
            hint = "move them into a group of their own (a container's init does so)"
            raise CgroupError("cgroups", "make", group, why, hint=hint) from exc

    def _set_cpu(self, group: str, quota: Quota | None) -> None:
        text = "max" if quota is None else f"{quota.quota_us} {quota.period_us}"
        write(self._path(group) / "cpu.max", text)

    def _set_memory(self, group: str, limit_bytes: int | None) -> None:
        """No swap with a limit: swap must not make a small device larger."""
        path = self._path(group)
        if limit_bytes is not None:
            self._refuse_below_use(group, limit_bytes)
        write(path / "memory.max", "max" if limit_bytes is None else str(limit_bytes))
        swap = path / "memory.swap.max"  # missing on kernels without swap
        if swap.exists():
            write(swap, "max" if limit_bytes is None else "0")

    def _refuse_below_use(self, group: str, limit_bytes: int) -> None:
        """The kernel would take the limit and kill; v1 refuses, so both do. Cache isn't in use."""
        used = self.memory_used(group)
        if used > limit_bytes:
            raise too_small(group, limit_bytes, used)

    def _set_pids(self, group: str, limit: int | None) -> None:
        write(self._path(group) / "pids.max", "max" if limit is None else str(limit))

    def _peak_file(self, group: str) -> Path:
        return self._path(group) / "memory.peak"  # since Linux 5.19

    def _set_disks(self, group: str, budget: Budget) -> None:
        """Of all disks; the controller is handed on only once somebody asks."""
        path = self._path(group) / IO
        now = _text(path)
        if asks_disks(budget):
            self._make(group, ("io",))
        elif not now.strip():
            return
        for disk in dict.fromkeys((*disks(), *limited(now))):
            try:
                write(path, io_max(disk, budget))
            except OSError as exc:
                if exc.errno not in (errno.ENODEV, errno.ENXIO):  # it has just gone
                    raise

    def _no_disks(self) -> str:
        has = (self._mount / "cgroup.controllers").read_text().split()
        return "" if "io" in has else "cgroup v2 has no io controller here"


def _offer(path: Path) -> None:
    """Give the children of `path` what isn't needed for any budget; a refusal is no error."""
    has = _text(path / "cgroup.controllers").split()
    control = path / "cgroup.subtree_control"
    for controller in OPTIONAL:
        if controller in has and controller not in _text(control).split():
            with suppress(OSError):
                write(control, f"+{controller}")


def _text(path: Path) -> str:
    """Of a file that there may not be."""
    try:
        return path.read_text()
    except FileNotFoundError:
        return ""


def parse_cpu_max(text: str) -> Quota | None:
    """Read cpu.max, `QUOTA PERIOD` or `max PERIOD`."""
    quota, period = text.split()
    return None if quota == "max" else Quota(int(quota), int(period))


def parse_flat(text: str) -> dict[str, int]:
    """Read a file of `name value` lines."""
    pairs = (line.split() for line in text.splitlines())
    return {name: int(value) for name, value in pairs}
