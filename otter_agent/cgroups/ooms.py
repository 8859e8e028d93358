"""Whether memory ran out in a group since a moment, also where those that it ran out for are gone.

v2 counts a group's kills with those of all below it, for good. In v1 each group counts its own
alone, and takes them along when it goes, as a container's does at its end: there an eventfd at the
group above is told before anybody is killed, also where a limit above that one is met; so its own
has to have been reached. Source: Linux, admin-guide/cgroup-v1/memory.rst, "10. OOM Control";
mm/memcontrol.c, mem_cgroup_oom_notify.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from otter_agent.cgroups import members

_V1 = "cgroup.event_control"
_HUGE_PAGE_BYTES = 2 << 20
"""By so much less than its limit may what a group had at most be, as it asked for more."""


class Ooms:
    """Of one group and all below it, since this was made.

    Args:
        folder: Of the group; in v1 in the tree of memory.

    Raises:
        OSError: v1, and it tells nothing.
    """

    def __init__(self, folder: Path) -> None:
        self._events = folder / "memory.events"
        self._control = folder / "memory.oom_control"
        self._before = members.oom_kills(str(self._events))
        self._limit = folder / "memory.limit_in_bytes"
        self._most = folder / "memory.max_usage_in_bytes"
        self._told: int | None = None
        self._happened = False
        if (folder / _V1).exists():
            self._told = _asked_to_tell(self._control)

    def happened(self) -> bool:
        """Whether it ran out."""
        self._happened = self._happened or self._looks_so()
        return self._happened

    def _looks_so(self) -> bool:
        if self._told is None:
            return members.oom_kills(str(self._events)) > self._before
        with suppress(BlockingIOError):
            os.eventfd_read(self._told)
            # memory.failcnt doesn't say: Linux 6.18 counts nothing where the limit with swap,
            # which is the same, is met first. And a group's removal is told, too.
            return 0 < _number(self._limit) <= _number(self._most) + _HUGE_PAGE_BYTES
        return False

    def close(self) -> None:
        """Count no more."""
        if self._told is not None:
            os.close(self._told)
            self._told = None


def _number(path: Path) -> int:
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return 0


def _asked_to_tell(control: Path) -> int:
    told = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
    try:
        with control.open("rb") as file:
            (control.parent / _V1).write_text(f"{told} {file.fileno()}")
    except BaseException:
        os.close(told)
        raise
    return told


def folder_above(text: str, tree: Path, controller: str) -> Path | None:
    """Folder of the group above a process's own; None: it isn't seen from here.

    Args:
        text: /proc/PID/cgroup (cgroups(7)).
        tree: Where it is mounted.
        controller: By which it is found; "": v2's tree.
    """
    for line in text.splitlines():
        _, names, path = line.split(":", 2)
        if controller in names.split(","):
            own = tree / path.strip("/")
            return None if ".." in own.parts or own == tree else own.parent
    return None
