"""The part of the cgroup v2 tree that an ordinary user may share out. Standard library only.

A user's systemd gives units with `Delegate=yes` theirs; who hasn't one gets no budgets. A group
that passes controllers on can't hold processes itself: OTTER's own go into a leaf, `otter-agents`.
Source: cgroups(7), systemd.resource-control(5), https://systemd.io/CGROUP_DELEGATION/.
"""

from __future__ import annotations

import contextlib
import errno
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

NEEDED = ("cpu", "memory", "pids")
LEAF = "otter-agents"
_LEAVING_S = 2.0
_HINT = "budgets need root, or a cgroup v2 of the user's own (systemd-run --user -p Delegate=yes)"


@dataclass(frozen=True, slots=True)
class Delegated:
    """What came of looking for it.

    Attributes:
        base: The group below which budgets can be made; None: there is none.
        why: Why not; "" where there is one.
    """

    base: Path | None
    why: str = ""


def find() -> Delegated:
    """Where budgets could be made; changes nothing."""
    return _first(lambda group: "")


def is_alone() -> bool:
    """Whether this process is in a group of ours that nobody else is in: somebody gave it one."""
    own = _own()
    if own is None or not _ours(own) or _missing(own):
        return False
    return _read(own / "cgroup.procs").split() == [str(os.getpid())]


def take(pids: Sequence[int]) -> Delegated:
    """Make it ready for budgets, with these processes of ours in its leaf."""
    return _first(lambda group: _prepare(group, pids))


def join(base: Path) -> str:
    """Move this process to where those of an earlier `take` are; why it can't, or ""."""
    try:
        _move(base, [os.getpid()])
    except OSError as exc:
        return f"this process can't enter {base / LEAF} ({exc.strerror}); {_HINT}"
    return ""


def leave(base: Path) -> None:
    """Take away what `take` made, once nobody else is in it: the last process goes out last."""
    with contextlib.suppress(OSError):
        _write(base / "cgroup.subtree_control", " ".join(f"-{c}" for c in NEEDED))
        _write(base / "cgroup.procs", str(os.getpid()))
    deadline = time.monotonic() + _LEAVING_S  # who has gone still counts for a moment
    while time.monotonic() < deadline:
        try:
            (base / LEAF).rmdir()
        except OSError as exc:
            if exc.errno != errno.EBUSY or _read(base / LEAF / "cgroup.procs"):
                return
            time.sleep(0.005)
        else:
            return


def _first(ready: Callable[[Path], str]) -> Delegated:
    """The nearest group of ours that is `ready`."""
    own = _own()
    if own is None:
        return Delegated(None, f"no cgroup v2 is mounted; {_HINT}")
    why = "no cgroup v2 was given to this user"
    for group in (own, *own.parents):
        if not _ours(group):
            break
        if missing := _missing(group):
            why = f"cgroup {group} wasn't given {', '.join(missing)}"
        elif not (why := ready(group)):
            return Delegated(group)
    return Delegated(None, f"{why}; {_HINT}")


def _missing(group: Path) -> list[str]:
    has = _read(group / "cgroup.controllers").split()
    return [c for c in NEEDED if c not in has]


def _ours(group: Path) -> bool:
    """Also what a user's systemd has is the user's, but not for others to share out."""
    if group.suffix == ".slice" or group.name.startswith("user@"):
        return False
    files = ("", "cgroup.procs", "cgroup.subtree_control")
    return all(os.access(group / name, os.W_OK) for name in files)


def _prepare(group: Path, pids: Sequence[int]) -> str:
    """Why it can't be used; "" once it can be."""
    origin = _own()
    try:
        _move(group, pids)
        _write(group / "cgroup.subtree_control", " ".join(f"+{c}" for c in NEEDED))
    except OSError as exc:
        with contextlib.suppress(OSError):
            for pid in pids:
                _write((origin or group) / "cgroup.procs", str(pid))
            (group / LEAF).rmdir()
        return f"cgroup {group} can't be shared out ({exc.strerror}: other processes are in it?)"
    return ""


def _move(group: Path, pids: Sequence[int]) -> None:
    (group / LEAF).mkdir(exist_ok=True)
    for pid in pids:
        _write(group / LEAF / "cgroup.procs", str(pid))


def _own() -> Path | None:
    """This process's group in the v2 tree; None where no such tree is mounted."""
    paths = [
        line.removeprefix("0::/")
        for line in _read(Path("/proc/self/cgroup")).splitlines()
        if line.startswith("0::/")
    ]
    for line in _read(Path("/proc/self/mountinfo")).splitlines():
        before, _, after = line.partition(" - ")
        if after.split()[:1] == ["cgroup2"] and paths:
            return Path(before.split()[4]) / paths[0]
    return None


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""


def _write(path: Path, text: str) -> None:
    fd = os.open(path, os.O_WRONLY)
    try:
        os.write(fd, text.encode())
    finally:
        os.close(fd)
