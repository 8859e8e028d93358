"""What the two cgroup versions have in common, and what callers see of them.

A *group* is a path relative to this agent's own group: `mesh/host` (a host's budget) or
`mesh/host/module`; "" is the agent's own group, `otter-ID`. It sits at the top of the hierarchy,
where Docker's cgroupfs driver puts its parents too, so that containers and processes of one host
share one budget. All calls block briefly and may be made from any thread.
"""

from __future__ import annotations

import errno
import os
import re
import threading
import time
from abc import ABC, abstractmethod
from contextlib import suppress
from pathlib import Path
from typing import ClassVar, Literal

from otter_agent.api import Budget
from otter_agent.cgroups import members, systemd
from otter_agent.cgroups.disks import disks
from otter_agent.cgroups.ooms import Ooms, folder_above
from otter_agent.cgroups.quota import Quota
from otter_agent.errors import CgroupError

KILL_WITHIN_S = 10.0
"""A process that survives SIGKILL this long hangs in the kernel (a dead disk, a dead NFS)."""
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:-]{0,254}")
_CONTROLLER_LEVELS = 2
"""Levels below the agent's group that carry no budget: the agent's own and the mesh's."""


class Cgroups(ABC):
    """The control groups of one agent.

    Attributes:
        version: ``v1`` or ``v2``; ``none`` where nothing can be limited.
        root: Name of the agent's own group.
    """

    version: ClassVar[Literal["v1", "v2", "none"]]

    def __init__(self, agent_id: str) -> None:
        self.root = f"otter-{_name(agent_id, agent_id)}"
        self._lock = threading.RLock()

    # --- budgets ---------------------------------------------------------------------------

    def ensure(self, group: str, budget: Budget) -> Budget:
        """Make the group if need be, give it `budget`, and return what is in force, read back.

        A host's budget may be changed in any order with its modules': what is above the host's
        gets the host's, and its own back when that grows. A budget of a group that a systemd slice
        stands for (see `docker_parent`) is given to the slice as well.

        Raises:
            CgroupError: The kernel refused; a memory limit below what is in use is refused on
                both versions (v2 would kill for it), with the amount in use.
        """
        quota = self._quota(group, budget)
        with self._lock:
            try:
                self._make(group)
                self._set_cpu(group, quota)
                self._set_memory(group, budget.memory_bytes)
                self._set_pids(group, budget.pids)
                self._set_disks(group, budget)
                in_force = self.read(group)
            except OSError as exc:
                raise self._error("ensure", group, exc) from exc
        systemd.follow(self._slice(group), budget, quota)
        return in_force

    def no_disks(self) -> str:
        """Why what is read from and written to disks can't be limited; "" if it can."""
        try:
            return self._no_disks() or ("" if disks() else "no file system here is on a disk")
        except OSError as exc:
            return str(exc)

    def spread(self, group: str) -> None:
        """Give groups that were made below this one the limits that don't hold below by themselves.

        Raises:
            CgroupError: The kernel refused.
        """
        del group  # all of them do

    @abstractmethod
    def read(self, group: str) -> Budget:
        """What is in force.

        Raises:
            CgroupError: No such group.
        """

    def docker_parent(self, group: str, driver: Literal["cgroupfs", "systemd"]) -> str:
        """What to give Docker as `CgroupParent` for containers of `group`.

        With the systemd driver it is a slice that systemd makes, with the budget of the group;
        with cgroupfs it is the group itself.
        """
        if driver == "cgroupfs":
            return f"/{self._relative(group)}"
        name = self._slice(group)
        budget = self.read(group)
        systemd.give(name, budget, self._quota(group, budget))
        return name

    # --- members ---------------------------------------------------------------------------

    @abstractmethod
    def procs_files(self, group: str) -> list[Path]:
        """Files that a process writes its pid (or 0) to, in this order, to enter the group."""

    @abstractmethod
    def kill_directory(self, group: str) -> Path:
        """The directory for `members.pids` and `members.Kill`."""

    @abstractmethod
    def oom_file(self, group: str) -> Path:
        """The file for `members.oom_kills`."""

    @abstractmethod
    def usage_file(self, group: str) -> Path | None:
        """What tells the CPU time used in the group: nanoseconds (v1), or cpu.stat (v2)."""

    def cpu_used_s(self, group: str) -> float | None:
        """CPU time used in the group since it was made; None: nobody accounts for it.

        Raises:
            OSError: No such group.
        """
        path = self.usage_file(group)
        if path is None:
            return None
        text = path.read_text()
        if path.name == "cpuacct.usage":
            return int(text) / 1e9
        return int(text.split("usage_usec", 1)[1].split()[0]) / 1e6

    @abstractmethod
    def memory_used(self, group: str) -> int:
        """Bytes in use in the group, without page cache.

        Raises:
            OSError: No such group.
        """

    def memory_peak(self, group: str) -> int | None:
        """The most that was ever in use in the group, page cache counted; None: nobody knows."""
        try:
            return int(self._peak_file(group).read_text())
        except (OSError, ValueError):
            return None

    def group_of(self, pid: int) -> str | None:
        """The group of this agent's that a process is in; None: in none of them, or it has ended.

        Source: cgroups(7), /proc/PID/cgroup.
        """
        mark = f"/{self.root}/"
        with suppress(OSError):
            for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines():
                _, found, group = line.partition(mark)
                if found:
                    return group
        return None

    def pids(self, group: str) -> set[int]:
        """All processes in the group and below it."""
        return members.pids(str(self.kill_directory(group)))

    def oom_kills(self, group: str) -> int:
        """How often the kernel has killed in this group for memory, since the group was made."""
        return members.oom_kills(str(self.oom_file(group)))

    def ooms(self, pid: int) -> Ooms | None:
        """Counts from now on, in the group above a process's own; None: it has ended, or none is.

        An engine makes one of its own for each container.

        Raises:
            OSError: The kernel doesn't.
        """
        tree, controller = self._memory_tree()
        try:
            text = Path(f"/proc/{pid}/cgroup").read_text()
        except OSError:
            return None
        folder = tree and folder_above(text, tree, controller)
        return Ooms(folder) if folder else None

    def kill(self, group: str, within_s: float = KILL_WITHIN_S) -> None:
        """SIGKILL everything in the group and below, and wait until it is gone; absent is fine.

        Raises:
            CgroupError: Something is still there after `within_s`.
        """
        killing = members.Kill(str(self.kill_directory(group)))
        deadline = time.monotonic() + within_s
        while not killing.step():
            if time.monotonic() > deadline:
                left = ", ".join(str(pid) for pid in sorted(self.pids(group))[:5])
                why = f"after {within_s:g} s and SIGKILL there still are: {left}"
                raise CgroupError("cgroups", "kill", group, why, recoverable=True)
            time.sleep(0.001)

    # --- lifetime --------------------------------------------------------------------------

    def groups(self) -> list[str]:
        """Every group of this agent (containers' too), parents first; "" isn't among them."""
        found: set[str] = set()
        for base in self._trees():
            top = base / self.root
            for path in below(top):
                found.add(str(path.relative_to(top)))
        return sorted(found - {"."})

    def remove(self, group: str) -> None:
        """Remove the group and all below, in every hierarchy; kills nothing, absent is fine.

        The mesh's and the agent's own group go too once nothing is in them.

        Raises:
            CgroupError: There are processes inside.
        """
        relative = self._relative(group)
        for base in self._trees():
            for path in reversed(below(base / relative)):
                self._rmdir(group, path)
            with self._lock:
                self._prune(base, relative)
        systemd.drop(self._slice(group))

    def _rmdir(self, group: str, path: Path) -> None:
        """The last process is off the list when it begins to end: be patient.

        It leaves when it has given back its memory and its devices, for which it has to run. Other
        groups aren't held up by that.
        """
        for patience_s in (0.001, 0.01, 0.1, 0.3, 1.0, 3.0, None):
            try:
                with self._lock:
                    path.rmdir()
            except FileNotFoundError:
                return
            except OSError as exc:
                if exc.errno != errno.EBUSY or patience_s is None or members.pids(str(path)):
                    raise self._error("remove", group, exc) from exc
                time.sleep(patience_s)
            else:
                return

    def _prune(self, base: Path, relative: str) -> None:
        for parent in Path(relative).parents:
            if parent == Path(".") or len(parent.parts) > _CONTROLLER_LEVELS:
                continue
            try:
                (base / parent).rmdir()
            except OSError:
                return  # others are in it, or it never was

    # --- for the versions ------------------------------------------------------------------

    @abstractmethod
    def _trees(self) -> list[Path]:
        """Mount points of all hierarchies in which groups of ours may be."""

    def _memory_tree(self) -> tuple[Path | None, str]:
        """Where the tree that limits memory is mounted, and the controller that it is known by."""
        return None, ""

    @abstractmethod
    def _make(self, group: str) -> None: ...

    @abstractmethod
    def _set_cpu(self, group: str, quota: Quota | None) -> None: ...

    @abstractmethod
    def _set_memory(self, group: str, limit_bytes: int | None) -> None: ...

    @abstractmethod
    def _set_pids(self, group: str, limit: int | None) -> None: ...

    @abstractmethod
    def _peak_file(self, group: str) -> Path: ...

    @abstractmethod
    def _set_disks(self, group: str, budget: Budget) -> None: ...

    @abstractmethod
    def _no_disks(self) -> str: ...

    def _relative(self, group: str) -> str:
        """The path below a mount point; refuses what would lead elsewhere."""
        names = [_name(part, group) for part in group.split("/")] if group else []
        return "/".join([self.root, *names])

    def _slice(self, group: str) -> str:
        return systemd.slice_name(self._relative(group).split("/"))

    def _quota(self, group: str, budget: Budget) -> Quota | None:
        try:
            return None if budget.cpu is None else Quota.of_cores(budget.cpu)
        except ValueError as exc:
            raise CgroupError("cgroups", "limit the CPU", group or self.root, str(exc)) from exc

    def _error(self, op: str, group: str, exc: OSError) -> CgroupError:
        hint = ""
        if exc.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            hint = "run the agent as root, with /sys/fs/cgroup writable"
        why = f"{exc.strerror}: {exc.filename}" if exc.filename else str(exc)
        return CgroupError("cgroups", op, group or self.root, why, hint=hint,
                           recoverable=exc.errno == errno.EBUSY)  # fmt: skip


def write(path: Path, text: str) -> None:
    """One write to a control file, with the file's name in the error."""
    fd = os.open(path, os.O_WRONLY)
    try:
        os.write(fd, text.encode())
    except OSError as exc:
        raise OSError(exc.errno, exc.strerror, str(path)) from exc
    finally:
        os.close(fd)


def too_small(group: str, limit_bytes: int, used_bytes: int) -> CgroupError:
    """The error for a memory limit below what is in use."""
    why = f"{used_bytes:,} bytes are in use, more than the {limit_bytes:,} asked"
    return CgroupError("cgroups", "limit memory", group, why, recoverable=True,
                       hint="ask for more, or restart the module")  # fmt: skip


def _name(part: str, group: str) -> str:
    if not _NAME.fullmatch(part):
        raise CgroupError("cgroups", "name", group, f"{part!r} can't be a group's name")
    return part


def below(top: Path) -> list[Path]:
    """`top` and all groups below it, parents first; empty if there is no `top`."""
    if not top.is_dir():
        return []
    found = [top]
    for path in found:
        try:
            with os.scandir(path) as entries:
                names = sorted(e.name for e in entries if e.is_dir(follow_symlinks=False))
        except FileNotFoundError:
            continue
        found.extend(path / name for name in names)
    return found
