"""A user namespace of one's own: who makes it is root inside, and remains who they are outside.

The user's id is 0 inside; where /etc/subuid gives them more ids and newuidmap is installed, those
follow from 1 on. Standard library only. Source: user_namespaces(7), newuidmap(1), subuid(5).
"""

from __future__ import annotations

import errno
import os
import pwd
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from otter_agent.launcher import linux, shown

NETNS = "/run/netns"
_MARK = "otter:"
_SYSCTL = "/proc/sys"
_MAX = "user/max_user_namespaces"
_DEBIAN = "kernel/unprivileged_userns_clone"
_UBUNTU = "kernel/apparmor_restrict_unprivileged_userns"


class NoNamespaces(Exception):  # noqa: N818 - what is, not what failed
    """The kernel lets this user have none; says why and what to do, in one line."""


def become_root(name: str) -> None:
    """Move this process, which has one thread, into new user and mount namespaces.

    /run/netns is an empty folder of its own there. The network stays the machine's.

    Args:
        name: Of these namespaces, by which `who_is_in` finds all that are in them.

    Raises:
        NoNamespaces: The kernel refused.
    """
    uid, gid = os.geteuid(), os.getegid()
    try:
        with _mapper(uid) as map_more:
            linux.unshare(linux.CLONE_NEWUSER | linux.CLONE_NEWNS)
            map_more()
        _map_one(uid, gid)
        linux.mount(None, "/", None, linux.MS_REC | linux.MS_SLAVE)
        shown.make_place(NETNS, folder=True)
        flags = linux.MS_NOSUID | linux.MS_NODEV | linux.MS_NOEXEC
        linux.mount(_MARK + name, NETNS, "tmpfs", flags, "mode=755")
    except OSError as exc:
        raise NoNamespaces(_why(exc)) from exc


def who_is_in(name: str) -> set[int]:
    """Processes in namespaces of that name, modules and all that they started included."""
    mark = f" - tmpfs {_escaped(_MARK + name)} "
    found: set[int] = set()
    for process in filter(str.isdecimal, os.listdir("/proc")):
        with suppress(OSError, UnicodeDecodeError):  # it ended, or is somebody else's
            if mark in Path(f"/proc/{process}/mountinfo").read_text():
                found.add(int(process))
    return found


def _escaped(text: str) -> str:
    """As the kernel writes it in mountinfo: proc(5)."""
    return "".join(f"\\{ord(c):03o}" if c in " \t\n\\#" else c for c in text)


# --- ids ---------------------------------------------------------------------------------------


@contextmanager
def _mapper(uid: int) -> Iterator[Callable[[], None]]:
    """Within the block: a function that has newuidmap and newgidmap map this process's further ids.

    They have to be run from outside the namespace, so by a child that was there before it.
    """
    name = _name(uid)
    ranges = [_range(f"/etc/{file}", name, uid) for file in ("subuid", "subgid")]
    tools = [shutil.which(tool) for tool in ("newuidmap", "newgidmap")]
    if None in ranges or None in tools:
        yield lambda: None
        return
    words = [
        [tool, str(os.getpid()), "0", str(own), "1", "1", str(more[0]), str(more[1])]
        for tool, own, more in zip(tools, (uid, os.getegid()), ranges, strict=True)
        if tool is not None and more is not None
    ]
    waiting, go = os.pipe()
    child = os.fork()
    if child == 0:
        _map_when_told(waiting, go, words)
    os.close(waiting)

    def map_more() -> None:
        os.write(go, b"x")
        os.waitpid(child, 0)  # where it failed, `_map_one` does what can be done

    try:
        yield map_more
    finally:
        os.close(go)
        with suppress(ChildProcessError):
            os.waitpid(child, 0)


def _map_when_told(waiting: int, go: int, words: list[list[str]]) -> None:
    """The child's part; it never returns."""
    try:
        os.close(go)
        if os.read(waiting, 1):
            for command in words:
                quiet = subprocess.DEVNULL
                subprocess.run(command, stdout=quiet, stderr=quiet, timeout=10, check=True)
    finally:
        os._exit(0)


def _map_one(uid: int, gid: int) -> None:
    """Map this user alone, where nothing is mapped yet. Groups are denied: user_namespaces(7)."""
    if not Path("/proc/self/uid_map").read_text():
        Path("/proc/self/uid_map").write_text(f"0 {uid} 1\n")
    if not Path("/proc/self/gid_map").read_text():
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/gid_map").write_text(f"0 {gid} 1\n")


def _name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return ""


def _range(file: str, name: str, uid: int) -> tuple[int, int] | None:
    """The first ids that /etc/subuid gives a user: (first, how many)."""
    with suppress(OSError, ValueError):
        for line in Path(file).read_text().splitlines():
            who, first, count = line.split(":")
            if who in (name, str(uid)) and who and int(count) > 0:
                return int(first), int(count)
    return None


# --- why not -----------------------------------------------------------------------------------


def _why(exc: OSError) -> str:
    """What is missing, and what to do, one line."""
    if _read(_MAX) == "0" or exc.errno == errno.ENOSPC:
        cause = f"user.max_user_namespaces is {_read(_MAX)}"
        mend = "sysctl -w user.max_user_namespaces=10000"
    elif _read(_DEBIAN) == "0":
        cause = "kernel.unprivileged_userns_clone is 0"
        mend = "sysctl -w kernel.unprivileged_userns_clone=1"
    elif _read(_UBUNTU) == "1":
        cause = "AppArmor restricts them (kernel.apparmor_restrict_unprivileged_userns is 1)"
        mend = "sysctl -w kernel.apparmor_restrict_unprivileged_userns=0"
    else:
        what = f"{exc.filename}: {exc.strerror}" if exc.filename else str(exc)
        cause = f"{what} (a container's seccomp filter, or the kernel's configuration)"
        mend = "in a container, allow it there"
    return (
        f"ordinary users may make no user namespaces here: {cause}; "
        f"run as root, or have root allow it: {mend}"
    )


def _read(key: str) -> str:
    try:
        return Path(_SYSCTL, key).read_text().strip()
    except OSError:
        return ""
