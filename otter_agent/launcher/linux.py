"""The system calls that Python 3.11 lacks. Raises `OSError`; knows nothing of modules."""

from __future__ import annotations

import ctypes
import fcntl
import os
import socket
import struct

CLONE_NEWNS = 0x00020000
CLONE_NEWUTS = 0x04000000
CLONE_NEWUSER = 0x10000000
CLONE_NEWNET = 0x40000000
MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC = 1, 2, 4, 8
MS_REMOUNT, MS_BIND, MS_REC, MS_UNBINDABLE, MS_PRIVATE = 32, 4096, 16384, 1 << 17, 1 << 18
MS_SLAVE = 1 << 19
MNT_DETACH = 2
PR_CAPBSET_DROP, PR_SET_CHILD_SUBREAPER, PR_SET_NO_NEW_PRIVS, PR_CAP_AMBIENT = 24, 36, 38, 47
_PR_CAP_AMBIENT_CLEAR_ALL = 4
_CAPABILITY_VERSION_3 = 0x20080522
_SIOCSIFFLAGS, _SIOCGIFFLAGS, _IFF_UP = 0x8914, 0x8913, 1

KEPT_CAPABILITIES = frozenset({0, 1, 3, 4, 5, 6, 7, 8, 10, 13, 18, 27, 29, 31})
"""Docker's default list: CHOWN DAC_OVERRIDE FOWNER FSETID KILL SETGID SETUID SETPCAP
NET_BIND_SERVICE NET_RAW SYS_CHROOT MKNOD AUDIT_WRITE SETFCAP; no NET_ADMIN, no SYS_ADMIN.
Source: moby's oci/caps/defaults.go; numbers from linux/capability.h."""

_PIVOT_ROOT = {"x86_64": 155, "aarch64": 41, "riscv64": 41, "armv7l": 218, "armv6l": 218}
"""Numbers of the system call. Source: the kernel's tables; libc has no function for it."""

_libc = ctypes.CDLL(None, use_errno=True)


def _check(result: int, what: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), what)


def unshare(flags: int) -> None:
    """Give this process namespaces of its own.

    Source: the man page unshare(2).
    """
    _check(_libc.unshare(flags), "unshare")


def setns(fd: int, kind: int) -> None:
    """Join a namespace.

    Source: the man page setns(2).
    """
    _check(_libc.setns(fd, kind), "setns")


def mount(
    source: str | None, target: str, kind: str | None, flags: int, options: str | None = None
) -> None:
    """Mount, bind or change a mount.

    Source: the man page mount(2).
    """
    src, fs, data = (
        None if text is None else os.fsencode(text) for text in (source, kind, options)
    )
    _check(_libc.mount(src, os.fsencode(target), fs, ctypes.c_ulong(flags), data), target)


_KEPT_FLAGS = (
    (os.ST_RDONLY, MS_RDONLY), (os.ST_NOSUID, MS_NOSUID), (os.ST_NODEV, MS_NODEV),
    (os.ST_NOEXEC, MS_NOEXEC),
    (os.ST_NOATIME, 1 << 10), (os.ST_NODIRATIME, 1 << 11), (os.ST_RELATIME, 1 << 21),
)  # fmt: skip
"""As statvfs tells of a mount, and as mount takes it."""


def restrict(target: str, flags: int) -> None:
    """Forbid more of a bind mount (MS_RDONLY, …); what its source didn't allow stays forbidden.

    In a user namespace the kernel refuses a change that would allow any of it.
    """
    there = os.statvfs(target).f_flag
    kept = sum(flag for told, flag in _KEPT_FLAGS if there & told)
    mount(None, target, None, MS_BIND | MS_REMOUNT | kept | flags)


def pivot_root(new: str, old: str) -> None:
    """Make `new` the root of this mount namespace, and show the old one at `old`.

    Source: the man page pivot_root(2).
    """
    number = _PIVOT_ROOT[os.uname().machine]
    _check(_libc.syscall(number, os.fsencode(new), os.fsencode(old)), new)


def detach(target: str) -> None:
    """Take a mount away, now from sight, later in fact.

    Source: the man page umount(2).
    """
    _check(_libc.umount2(os.fsencode(target), MNT_DETACH), target)


def prctl(option: int, value: int = 0) -> None:
    """Change an attribute of this process.

    Source: the man page prctl(2).
    """
    zero = ctypes.c_ulong(0)
    _check(_libc.prctl(option, ctypes.c_ulong(value), zero, zero, zero), "prctl")


def drop_capabilities() -> None:
    """Keep Docker's default capabilities at most, for this process and all it executes."""
    with open("/proc/sys/kernel/cap_last_cap") as file:
        last = int(file.read())
    for number in range(last + 1):
        if number not in KEPT_CAPABILITIES:
            prctl(PR_CAPBSET_DROP, number)
    prctl(PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL)
    held, _ = _capabilities()
    kept = held & sum(1 << number for number in KEPT_CAPABILITIES)
    low, high = kept & 0xFFFFFFFF, kept >> 32
    data = struct.pack("=6I", low, low, 0, high, high, 0)  # effective, permitted, inheritable
    header = struct.pack("=Ii", _CAPABILITY_VERSION_3, 0)
    _check(_libc.capset(header, data), "capset")
    prctl(PR_SET_NO_NEW_PRIVS, 1)


def _capabilities() -> tuple[int, int]:
    """(permitted, effective) of this process."""
    header = struct.pack("=Ii", _CAPABILITY_VERSION_3, 0)
    data = ctypes.create_string_buffer(24)
    _check(_libc.capget(header, data), "capget")
    low = struct.unpack("=6I", data.raw)
    return low[1] | low[4] << 32, low[0] | low[3] << 32


def loopback_up() -> None:
    """Set `lo` up in this process's network namespace. Source: netdevice(7)."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
        request = struct.pack("16sH14x", b"lo", 0)
        flags = struct.unpack("16xH14x", fcntl.ioctl(sock, _SIOCGIFFLAGS, request))[0]
        fcntl.ioctl(sock, _SIOCSIFFLAGS, struct.pack("16sH14x", b"lo", flags | _IFF_UP))


def mount_points(kind: str) -> list[str]:
    """Mount points of a type of file system, last mounted first. Source: proc(5), mountinfo."""
    with open("/proc/self/mountinfo") as file:
        lines = [line.split() for line in file]
    found = [fields[4] for fields in lines if fields[fields.index("-") + 1] == kind]
    return [point.encode().decode("unicode_escape") for point in reversed(found)]
