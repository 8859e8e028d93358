"""Runs Python as Windows would, as far as Linux can play it: what is Unix's alone is gone.

    python tests/helpers/as_windows.py otterctl plan topology.toml
    python tests/helpers/as_windows.py import otter_ctl.cli.apply otter_ctl.ssh …

Gone are the modules, functions and constants whose "Availability" in Python's documentation names
Unix or Linux, as of Python 3.11. Libraries are loaded before: they have their own ways on Windows.
What it can't play: paths with drives and backslashes, code pages, the event loop of Windows.
"""

from __future__ import annotations

import asyncio
import importlib
import importlib.abc
import os
import platform
import select
import shutil
import signal
import socket
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

LIBRARIES = (
    "asyncssh", "click", "getpass", "h11", "highspy", "importlib.metadata", "msgspec", "numpy",
    "platform", "rich.console", "rich.table", "rustworkx", "subprocess", "tarfile", "tempfile",
    "tree_sitter", "tree_sitter_toml", "watchfiles", "wsproto",
)  # fmt: skip
"""All that otter_ctl requires, and what of the standard library decides by the system it is on."""

MODULES = frozenset(
    {
        "_curses", "crypt", "curses", "fcntl", "grp", "nis", "ossaudiodev", "pipes", "pty", "pwd",
        "readline", "resource", "spwd", "syslog", "termios", "tty",
    }
)  # fmt: skip
OS = [
    "chown",
    "chroot",
    "confstr",
    "copy_file_range",
    "ctermid",
    "eventfd",
    "eventfd_read",
    "eventfd_write",
    "fchdir",
    "fchmod",
    "fchown",
    "fdatasync",
    "fork",
    "forkpty",
    "fpathconf",
    "fstatvfs",
    "fwalk",
    "get_blocking",
    "getegid",
    "geteuid",
    "getgid",
    "getgrouplist",
    "getgroups",
    "getloadavg",
    "getpgid",
    "getpgrp",
    "getpriority",
    "getrandom",
    "getresgid",
    "getresuid",
    "getsid",
    "getuid",
    "getxattr",
    "initgroups",
    "killpg",
    "lchown",
    "listxattr",
    "lockf",
    "login_tty",
    "major",
    "makedev",
    "memfd_create",
    "minor",
    "mkfifo",
    "mknod",
    "nice",
    "openpty",
    "pathconf",
    "pidfd_open",
    "pipe2",
    "posix_fadvise",
    "posix_fallocate",
    "posix_openpt",
    "posix_spawn",
    "posix_spawnp",
    "pread",
    "preadv",
    "pwrite",
    "pwritev",
    "readv",
    "register_at_fork",
    "removexattr",
    "sched_get_priority_max",
    "sched_get_priority_min",
    "sched_getaffinity",
    "sched_getparam",
    "sched_getscheduler",
    "sched_rr_get_interval",
    "sched_setaffinity",
    "sched_setparam",
    "sched_setscheduler",
    "sched_yield",
    "sendfile",
    "set_blocking",
    "setegid",
    "seteuid",
    "setgid",
    "setgroups",
    "setpgid",
    "setpriority",
    "setregid",
    "setresgid",
    "setresuid",
    "setreuid",
    "setsid",
    "setuid",
    "setxattr",
    "splice",
    "statvfs",
    "sync",
    "sysconf",
    "tcgetpgrp",
    "tcsetpgrp",
    "ttyname",
    "uname",
    "wait",
    "wait3",
    "wait4",
    "waitid",
    "writev",
    "O_ASYNC",
    "O_CLOEXEC",
    "O_DIRECT",
    "O_DIRECTORY",
    "O_DSYNC",
    "O_NDELAY",
    "O_NOATIME",
    "O_NOCTTY",
    "O_NOFOLLOW",
    "O_NONBLOCK",
    "O_PATH",
    "O_RSYNC",
    "O_SYNC",
    "O_TMPFILE",
    "SEEK_DATA",
    "SEEK_HOLE",
    "WNOHANG",
    "WUNTRACED",
    "WCONTINUED",
    "WIFEXITED",
    "WEXITSTATUS",
    "WIFSIGNALED",
    "WTERMSIG",
]
WITH_DESCRIPTORS = (
    "access", "chmod", "link", "mkdir", "open", "readlink", "remove", "rename", "replace", "rmdir",
    "stat", "symlink", "unlink", "utime",
)  # fmt: skip
"""Of `os`: take no descriptors of folders on Windows."""
SIGNALS = frozenset({"SIGABRT", "SIGFPE", "SIGILL", "SIGINT", "SIGSEGV", "SIGTERM"})
SIGNAL = [
    "alarm",
    "getitimer",
    "pause",
    "pidfd_send_signal",
    "pthread_kill",
    "pthread_sigmask",
    "setitimer",
    "siginterrupt",
    "sigpending",
    "sigtimedwait",
    "sigwait",
    "sigwaitinfo",
    "SIG_BLOCK",
    "SIG_UNBLOCK",
    "SIG_SETMASK",
]
SOCKET = [
    "AF_UNIX",
    "AF_NETLINK",
    "AF_PACKET",
    "AF_VSOCK",
    "CMSG_LEN",
    "CMSG_SPACE",
    "MSG_CMSG_CLOEXEC",
    "MSG_DONTWAIT",
    "MSG_NOSIGNAL",
    "SCM_RIGHTS",
    "SCM_CREDENTIALS",
    "SO_BINDTODEVICE",
    "SO_PEERCRED",
    "SO_REUSEPORT",
    "recv_fds",
    "send_fds",
    "sethostname",
]
TIME = ["clock_getres", "clock_gettime", "clock_gettime_ns", "clock_settime", "tzset"]
PROCESSORS = {"x86_64": "AMD64", "aarch64": "ARM64"}
"""As Linux calls them, and Windows."""
LOOP = (
    "add_reader", "add_signal_handler", "add_writer", "create_unix_connection",
    "create_unix_server", "remove_reader", "remove_signal_handler", "remove_writer",
)  # fmt: skip
"""Of event loops: the one of Windows raises `NotImplementedError`."""


class _NoSuchModule(importlib.abc.MetaPathFinder):
    def find_spec(self, name: str, path: object = None, target: object = None) -> None:
        if name.partition(".")[0] in MODULES:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


def pretend() -> None:
    """Become Windows, for all that is imported from now on."""
    for name in LIBRARIES:
        importlib.import_module(name)
    for name in MODULES & sys.modules.keys():
        del sys.modules[name]
    sys.meta_path.insert(0, _NoSuchModule())
    others = [n for n in dir(signal) if n.startswith("SIG") and n[3:4] != "_"]
    gone: dict[Any, Sequence[str]] = {
        os: OS,
        signal: [*SIGNAL, *(n for n in others if n not in SIGNALS)],
        socket: SOCKET,
        time: TIME,
        select: ["devpoll", "epoll", "kqueue", "poll"],
        asyncio: ["open_unix_connection", "start_unix_server"],
    }
    for module, names in gone.items():
        for name in names:
            if hasattr(module, name):
                delattr(module, name)
    socket.socketpair = _pair  # type: ignore[assignment]
    _without_descriptors()
    for name in LOOP:
        setattr(asyncio.SelectorEventLoop, name, _not_here(name))
    sys.platform = "win32"
    real = platform.machine()
    platform.machine = lambda: PROCESSORS.get(real, real)


def _pair(*given: Any) -> tuple[socket.socket, socket.socket]:
    """By TCP, as Python does where there are no Unix sockets."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        one = socket.create_connection(listener.getsockname())
        return one, listener.accept()[0]


def _without_descriptors() -> None:
    for name in WITH_DESCRIPTORS:
        setattr(os, name, _no_folders(getattr(os, name)))
    for names in (os.supports_dir_fd, os.supports_fd, os.supports_follow_symlinks):
        names.clear()
    shutil._use_fd_functions = False


def _no_folders(call: Callable[..., Any]) -> Callable[..., Any]:
    def without(*given: Any, **named: Any) -> Any:
        descriptors = {
            n for n in ("dir_fd", "src_dir_fd", "dst_dir_fd") if named.get(n) is not None
        }
        if descriptors:
            raise NotImplementedError(
                f"{call.__name__}: {descriptors} unavailable on this platform"
            )
        if call.__name__ == "open" and os.path.isdir(given[0]):
            raise PermissionError(13, "Permission denied", given[0])
        return call(*given, **named)

    return without


def _not_here(name: str) -> Callable[..., Any]:
    def refuse(*given: Any, **named: Any) -> Any:
        raise NotImplementedError(name)

    return refuse


def main() -> None:
    """Pretend, then do what the arguments say."""
    what, *words = sys.argv[1:]
    pretend()
    if what == "import":
        for name in words:
            importlib.import_module(name)
        return
    assert what == "otterctl"
    from otter_ctl.__main__ import main as otterctl

    sys.argv = [what, *words]
    otterctl()


if __name__ == "__main__":
    sys.path.insert(0, str(__import__("pathlib").Path(__file__).parents[2]))
    main()
