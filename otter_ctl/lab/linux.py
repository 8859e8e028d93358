"""The few system calls that the standard library lacks. Linux only.

Must not know: labs, machines.
"""

from __future__ import annotations

import ctypes
import os
from pathlib import Path

CLONE_NEWNS = 0x00020000
CLONE_NEWCGROUP = 0x02000000
CLONE_NEWUTS = 0x04000000
CLONE_NEWIPC = 0x08000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000

MS_BIND = 0x1000
MS_REC = 0x4000
MS_SLAVE = 1 << 19
MS_SHARED = 1 << 20

_PR_SET_PDEATHSIG = 1
_libc: ctypes.CDLL | None = None


def _call(name: str, *args: object, what: str = "") -> None:
    global _libc
    if _libc is None:
        _libc = ctypes.CDLL(None, use_errno=True)
    if getattr(_libc, name)(*args) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), what or name)


def unshare(flags: int) -> None:
    """Namespaces of the caller's own; of pids it is the next child's."""
    _call("unshare", flags)


def join(path: str, kind: int) -> None:
    """A namespace that somebody else has made."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        _call("setns", descriptor, kind)
    finally:
        os.close(descriptor)


def set_hostname(name: str) -> None:
    """Of the caller's UTS namespace."""
    raw = name.encode()
    _call("sethostname", raw, ctypes.c_size_t(len(raw)))


def die_with_parent(signal: int) -> None:
    """The signal comes when the thread that forked the caller ends. Forgotten by a fork."""
    _call("prctl", _PR_SET_PDEATHSIG, ctypes.c_ulong(signal), 0, 0, 0)


def mount(
    source: str | Path, target: str | Path, kind: str = "", flags: int = 0, data: str = ""
) -> None:
    """Mount something, as the system call does. Raises OSError that names the target."""
    args = (os.fsencode(source), os.fsencode(target), kind.encode(), ctypes.c_ulong(flags))
    _call("mount", *args, data.encode() or None, what=str(target))


def bind(source: str | Path, target: str | Path) -> None:
    """Show a file or folder at another place as well."""
    mount(source, target, flags=MS_BIND)
