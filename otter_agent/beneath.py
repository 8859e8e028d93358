"""Opens paths so that no symbolic link, of whoever and whenever made, leads elsewhere.

A path is walked step by step from an open folder, so there is no moment between a check and a use.
Standard library only: the launcher's children use it between fork and exec.
"""

from __future__ import annotations

import ctypes
import errno
import os
import stat

RESOLVE_NO_MAGICLINKS = 0x02
RESOLVE_IN_ROOT = 0x10
_OPENAT2 = 437
"""The same number on every architecture. Source: openat2(2), Linux 5.6."""

_libc = ctypes.CDLL(None, use_errno=True)


class _OpenHow(ctypes.Structure):
    _fields_ = (("flags", ctypes.c_uint64), ("mode", ctypes.c_uint64), ("resolve", ctypes.c_uint64))


def open_beneath(root: str | os.PathLike[str], relative: str) -> int:
    """An `O_PATH` descriptor of `root/relative`; not one step below `root` may be a symbolic link.

    Raises:
        OSError: Says at which step; `ELOOP`: it is a symbolic link.
    """
    folder = os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    path = os.fspath(root)
    for part in filter(None, relative.split("/")):
        path = f"{path.rstrip('/')}/{part}"
        try:
            deeper = _step(folder, part, path)
        finally:
            os.close(folder)
        folder = deeper
    return folder


def _step(folder: int, part: str, path: str) -> int:
    if part in (".", ".."):
        raise OSError(errno.EINVAL, "not a plain path", path)
    try:
        deeper = os.open(part, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
    except OSError as exc:
        raise OSError(exc.errno, os.strerror(exc.errno or 0), path) from None
    if stat.S_ISLNK(os.fstat(deeper).st_mode):
        os.close(deeper)
        raise OSError(errno.ELOOP, "it is a symbolic link", path)
    return deeper


def open_file(at: int) -> int:
    """A regular file, to read, by an `O_PATH` descriptor of it, which stays the caller's.

    What it is, is looked at before it is opened: opening alone does something to devices, and a
    container may make nodes of any (a watchdog's, and the machine reboots). Nor is it waited for:
    who has a lease on a file of theirs (fcntl(2)) holds up whoever opens it for 45 s.

    Raises:
        OSError: It is none, or can't be opened now.
    """
    if not stat.S_ISREG(os.fstat(at).st_mode):
        raise OSError(errno.EINVAL, "it is no plain file")
    return os.open(f"/proc/self/fd/{at}", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)


def open_in_root(root: int, path: str, flags: int = os.O_PATH) -> int:
    """Open `path` as a process whose root folder is `root` would: links lead nowhere else.

    Raises:
        OSError: `ENOSYS`: the kernel is older than 5.6.
    """
    how = _OpenHow(flags | os.O_CLOEXEC, 0, RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS)
    size = ctypes.c_size_t(ctypes.sizeof(how))
    while True:
        fd: int = _libc.syscall(_OPENAT2, root, os.fsencode(path), ctypes.byref(how), size)
        if fd >= 0:
            return fd
        number = ctypes.get_errno()
        if number not in (errno.EAGAIN, errno.EINTR):  # EAGAIN: something moved meanwhile
            raise OSError(number, os.strerror(number), path)
