"""cgroup v1: one tree per controller.

Containers leave their parents behind in controllers that we never asked for (devices, blkio, …),
so removal goes through every hierarchy that is mounted; budgets need cpu, memory and pids, and
blkio where disks are limited. That one knows no levels: each group is limited by itself.
"""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import ClassVar, Literal

from otter_agent.api import Budget, asks_disks
from otter_agent.cgroups import members
from otter_agent.cgroups import quota as cfs
from otter_agent.cgroups.base import Cgroups, below, too_small, write
from otter_agent.cgroups.disks import THROTTLES, disks, limited, parse_throttles
from otter_agent.cgroups.quota import Node, Quota, Write

NEEDED = ("cpu", "memory", "pids")
_USED = (*NEEDED, "cpuacct", "blkio")
_ASKED = "trusted.otter.cpu"
"""What a group asked for while its parents allow less: it lives as long as the group, so also
through a restart of the agent. Holds `want_quota want_period set_quota set_period`."""
_MOST = {field: (1 << 32) - 1 if field.endswith("iops") else (1 << 64) - 1 for field in THROTTLES}
"""Larger ones v1 cuts to their last bits, which can be next to nothing; v2 takes this instead.
Source: the kernel's block/blk-throttle.c, tg_set_conf and tg_set_limit."""
_OF_MODULE = 2
"""Slashes in the name of a module's group."""
_UNLIMITED_BYTES = 1 << 60
"""v1 says "unlimited" as the largest page count: anything this big."""


class CgroupsV1(Cgroups):
    """Budgets in the trees of cgroup v1.

    Args:
        agent_id: Part of the name of every group.
        controllers: Controller -> mount point of its tree.
        trees: Mount points of all trees, also those without a controller.
    """

    version: ClassVar[Literal["v1", "v2", "none"]] = "v1"

    def __init__(self, agent_id: str, controllers: dict[str, Path], trees: list[Path]) -> None:
        super().__init__(agent_id)
        if not os.access(controllers.get("blkio", "/"), os.W_OK):  # budgets do without
            controllers = {name: path for name, path in controllers.items() if name != "blkio"}
        self._controllers = controllers
        self._all = trees
        used = (controllers[name] for name in _USED if name in controllers)
        self._used = list(dict.fromkeys(used))  # cpu and cpuacct are often one tree

    def read(self, group: str) -> Budget:
        """See base."""
        try:
            limit = int(self._file("memory", group, "memory.limit_in_bytes").read_text())
            pids = self._file("pids", group, "pids.max").read_text().strip()
            cpu = _read_quota(self._path("cpu", group))
            throttles = self._throttles(group)
        except OSError as exc:
            raise self._error("read", group, exc) from exc
        return Budget(
            cpu=None if cpu is None else cpu.cores,
            period_s=None if cpu is None else cpu.period_us / 1e6,
            memory_bytes=None if limit >= _UNLIMITED_BYTES else limit,
            pids=None if pids == "max" else int(pids),
            **parse_throttles(throttles),
        )

    def procs_files(self, group: str) -> list[Path]:
        """See base."""
        relative = self._relative(group)
        return [tree / relative / "cgroup.procs" for tree in self._used]

    def kill_directory(self, group: str) -> Path:
        """See base: the pids tree, whose limit also stops forks while we kill."""
        return self._path("pids", group)

    def oom_file(self, group: str) -> Path:
        """See base."""
        return self._file("memory", group, "memory.oom_control")

    def oom_kills(self, group: str) -> int:
        """See base: v1 counts each group by itself, containers' below a module's, too."""
        paths = below(self._path("memory", group))
        return sum(members.oom_kills(str(path / "memory.oom_control")) for path in paths)

    def usage_file(self, group: str) -> Path | None:
        """See base; None where no tree accounts for CPU time."""
        if "cpuacct" not in self._controllers:
            return None
        return self._file("cpuacct", group, "cpuacct.usage")

    def memory_used(self, group: str) -> int:
        """See base."""
        lines = self._file("memory", group, "memory.stat").read_text().splitlines()
        stat = {name: int(value) for name, value in (line.split() for line in lines)}
        return stat["total_rss"] + stat.get("total_shmem", 0)

    def _trees(self) -> list[Path]:
        return self._all

    def _memory_tree(self) -> tuple[Path | None, str]:
        return self._controllers["memory"], "memory"

    def _path(self, controller: str, group: str) -> Path:
        return self._controllers[controller] / self._relative(group)

    def _file(self, controller: str, group: str, name: str) -> Path:
        return self._path(controller, group) / name

    def _make(self, group: str) -> None:
        relative = self._relative(group)
        for tree in self._used:
            (tree / relative).mkdir(parents=True, exist_ok=True)

    # --- cpu -------------------------------------------------------------------------------

    def _set_cpu(self, group: str, quota: Quota | None) -> None:
        path = self._path("cpu", group)
        tree = _node(path)
        tree.want = quota
        for step in cfs.plan(tree, self._limit_above(path)):
            _apply(step)
        _remember(path, quota, _read_quota(path))

    def _limit_above(self, path: Path) -> Quota | None:
        for parent in path.parents:
            if parent == self._controllers["cpu"]:
                break
            found = _read_quota(parent)
            if found is not None:
                return found
        return None

    # --- memory and pids -------------------------------------------------------------------

    def _set_memory(self, group: str, limit_bytes: int | None) -> None:
        """The same limit with and without swap: swap must not make a small device larger."""
        path = self._file("memory", group, "memory.limit_in_bytes")
        wanted = -1 if limit_bytes is None else limit_bytes
        if _same_bytes(int(path.read_text()), limit_bytes):
            return
        with_swap = path.with_name("memory.memsw.limit_in_bytes")  # missing without swap accounting
        has_swap = with_swap.exists()
        if has_swap:
            write(with_swap, "-1")  # must never be below the other one
        try:
            write(path, str(wanted))
        except OSError as exc:
            if exc.errno != errno.EBUSY or limit_bytes is None:
                raise
            used = int(path.with_name("memory.usage_in_bytes").read_text())
            raise too_small(group, limit_bytes, used) from exc
        finally:
            if has_swap:
                write(with_swap, path.read_text().strip())

    def _set_pids(self, group: str, limit: int | None) -> None:
        write(self._file("pids", group, "pids.max"), "max" if limit is None else str(limit))

    def _peak_file(self, group: str) -> Path:
        return self._file("memory", group, "memory.max_usage_in_bytes")

    # --- disks -----------------------------------------------------------------------------

    def spread(self, group: str) -> None:
        """See base: a container's group is made by its engine when it starts."""
        with self._lock:
            try:
                budget = self.read(group)
                if asks_disks(budget):
                    self._set_disks(group, budget)
            except OSError as exc:
                raise self._error("limit disks", group, exc) from exc

    def _throttles(self, group: str) -> dict[str, str]:
        if "blkio" not in self._controllers:
            return {}
        path = self._path("blkio", group)
        files = {field: path / f"blkio.throttle.{name}" for field, name in THROTTLES.items()}
        return {field: file.read_text() for field, file in files.items() if file.exists()}

    def _set_disks(self, group: str, budget: Budget) -> None:
        """A module's group and all below it, which v1 takes as groups beside it.

        A host's is written down, and limits nobody: its modules are to be given it as their own.
        """
        now = self._throttles(group)
        if not asks_disks(budget) and not any(text.strip() for text in now.values()):
            return
        here = disks()
        own = self._path("blkio", group)
        for path in below(own) if group.count("/") >= _OF_MODULE else [own]:
            for field, name in THROTTLES.items():
                file = path / f"blkio.throttle.{name}"
                value = min(getattr(budget, field) or 0, _MOST[field])  # 0 takes a limit away
                try:
                    for disk in dict.fromkeys((*here, *limited(file.read_text()))):
                        _throttle(file, f"{disk} {value}")
                except FileNotFoundError:
                    continue  # a container that has just ended

    def _no_disks(self) -> str:
        if "blkio" not in self._controllers:
            return "cgroup v1 has no blkio controller here"
        if not self._throttle_there():
            return "the kernel throttles no disks (CONFIG_BLK_DEV_THROTTLING)"
        return ""

    def _throttle_there(self) -> bool:
        return (self._controllers["blkio"] / "blkio.throttle.read_bps_device").exists()


def _throttle(file: Path, line: str) -> None:
    try:
        write(file, line)
    except OSError as exc:
        if exc.errno not in (errno.ENODEV, errno.ENXIO):  # the disk has just gone
            raise


def _same_bytes(current: int, asked: int | None) -> bool:
    """Whether the limit in force is what asking for `asked` bytes gives: whole pages."""
    if asked is None:
        return current >= _UNLIMITED_BYTES
    page = os.sysconf("SC_PAGE_SIZE")
    return current == asked // page * page


def _node(path: Path) -> Node:
    """The tree of CPU groups at `path`, containers that Docker made there included."""
    current = _read_quota(path)
    with os.scandir(path) as entries:
        below = [Path(e.path) for e in entries if e.is_dir(follow_symlinks=False)]
    children = []
    for child in below:
        try:
            children.append(_node(child))
        except FileNotFoundError:
            continue  # a container that ended meanwhile
    return Node(str(path), _wanted(path, current), current, children)


def _apply(step: Write) -> None:
    path = Path(step.name)
    current = _read_quota(path)
    target = step.target
    if target is not None and current is not None and current.period_us == target.period_us:
        write(path / "cpu.cfs_quota_us", str(target.quota_us))
    else:
        # Unlimited in between is never refused, and the parents' limits hold on.
        write(path / "cpu.cfs_quota_us", "-1")
        if target is not None:
            write(path / "cpu.cfs_period_us", str(target.period_us))
            write(path / "cpu.cfs_quota_us", str(target.quota_us))
    _remember(path, step.want, target)


def _read_quota(path: Path) -> Quota | None:
    quota = int((path / "cpu.cfs_quota_us").read_text())
    if quota < 0:
        return None
    return Quota(quota, int((path / "cpu.cfs_period_us").read_text()))


def _remember(path: Path, want: Quota | None, got: Quota | None) -> None:
    """Keep what was asked for with the group, but only where something else is in force."""
    if want != got:
        os.setxattr(path, _ASKED, f"{_text(want)} {_text(got)}".encode())
        return
    try:
        os.removexattr(path, _ASKED)
    except OSError as exc:
        if exc.errno not in (errno.ENODATA, errno.ENOTSUP):
            raise


def _wanted(path: Path, current: Quota | None) -> Quota | None:
    """What the group asked for; a limit that someone else (Docker) set since then is news."""
    try:
        noted = [int(n) for n in os.getxattr(path, _ASKED).split()]
    except OSError:
        return current
    want, got = _quota(*noted[:2]), _quota(*noted[2:])
    return want if got == current else current


def _text(quota: Quota | None) -> str:
    return "-1 0" if quota is None else f"{quota.quota_us} {quota.period_us}"


def _quota(quota_us: int, period_us: int) -> Quota | None:
    return None if quota_us < 0 else Quota(quota_us, period_us)
