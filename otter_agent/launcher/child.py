"""What a forked child does until it is the module: between fork and exec.

    close all ─► log ─► namespaces, mounts ─► control groups, capabilities ─► "held" ─► wait ─► exec

Nothing here returns to the launcher's code: a child ends by `exec` or `os._exit`. Exit statuses
are the shell's: 127 not found, 126 can't be run, and 125 (as docker's) for a failing set-up.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import signal
import socket
import termios
from collections.abc import Callable, Sequence
from typing import NoReturn

from otter_agent.launcher import linux, shown
from otter_agent.launcher.records import Request, Work

SETUP_FAILED = 125
CANNOT_RUN = 126
NOT_FOUND = 127
HELD = b"held"
"""Written to the status pipe when the namespaces are there; anything else is what failed."""
_SIGNALS = (
    signal.SIGPIPE, signal.SIGXFSZ, signal.SIGCHLD, signal.SIGINT, signal.SIGTERM, signal.SIGHUP,
    signal.SIGQUIT, signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU,
)  # fmt: skip
_NAMESPACES = (("mnt", linux.CLONE_NEWNS), ("net", linux.CLONE_NEWNET), ("uts", linux.CLONE_NEWUTS))


def module(work: Work, hold: int, status: int, secrets: int = -1) -> NoReturn:
    """Become a module: set up, say so on `status`, wait for a byte from `hold`, exec.

    `status` closes with the exec. If `hold` breaks instead, the launcher is gone: end. `secrets`
    is a file in memory with the module's secrets; the launcher itself never reads it.
    """
    _guard(status, lambda: _set_up(work, hold, status, secrets))
    with contextlib.suppress(OSError):
        os.write(status, HELD)
    if not os.read(hold, 1):
        os._exit(SETUP_FAILED)
    os.close(hold)
    _execute(work, work["argv"])


def command(
    work: Work, request: Request, namespaces: Sequence[int], stdio: Sequence[int]
) -> NoReturn:
    """Become a command inside a module: join its control group and namespaces, exec.

    Args:
        work: The module's.
        request: What to run, and how.
        namespaces: Descriptors from `open_namespaces`.
        stdio: Descriptors for 0, 1 and 2.
    """
    ids = request.get("ids")
    env = {**work["env"], **request.get("env", {})}
    here: Work = {**work, "env": env, "cwd": request.get("cwd") or work["cwd"]}

    def set_up() -> None:
        for number, fd in enumerate(_above(stdio)):
            os.dup2(fd, number)
        os.setsid()
        _default_signals()
        if request.get("terminal"):
            fcntl.ioctl(0, termios.TIOCSCTTY, 0)
        _enter(_open_groups(work["procs"]))  # first: there are no control groups inside
        for fd, (_, kind) in zip(namespaces, _NAMESPACES, strict=True):
            linux.setns(fd, kind)
        _close_all_but(0, 1, 2)
        linux.drop_capabilities()
        if ids:
            _become(*ids, terminal=bool(request.get("terminal")))

    _guard(2, set_up)
    _execute(here, request["argv"])


def open_namespaces(pid: int) -> list[int]:
    """Descriptors of a process's namespaces, for `command`."""
    opened: list[int] = []
    try:
        for name, _ in _NAMESPACES:
            opened.append(os.open(f"/proc/{pid}/ns/{name}", os.O_RDONLY | os.O_CLOEXEC))
    except OSError:
        for fd in opened:
            os.close(fd)
        raise
    return opened


def private_mounts() -> None:
    """Give the launcher a mount namespace of its own: the template of all modules'.

    Copies of network namespaces' mounts would keep those alive after their deletion, and a
    thousand of them in each of a thousand modules would cost a million mounts: they go here, once.
    """
    linux.unshare(linux.CLONE_NEWNS)
    linux.mount(None, "/", None, linux.MS_REC | linux.MS_PRIVATE)
    for point in (*linux.mount_points("nsfs"), *filter(_is_volume, linux.mount_points("ext4"))):
        with contextlib.suppress(OSError):
            linux.detach(point)


def _is_volume(point: str) -> bool:
    """Whether it is a module's work folder: a copy would keep it after its end."""
    return point.endswith("/work") and os.path.exists(f"{point}.img")


def _guard(report: int, set_up: Callable[[], None]) -> None:
    """Run `set_up`; if it fails, say on `report` why, and end."""
    try:
        set_up()
    except BaseException as exc:  # noqa: BLE001 - a child must never run the launcher's code
        with contextlib.suppress(OSError):
            os.write(report, f"{exc}\n".encode())
        os._exit(SETUP_FAILED)


def _set_up(work: Work, hold: int, status: int, secrets: int) -> None:
    values = _read_secrets(secrets)
    _close_all_but(0, 1, 2, hold, status)
    os.setsid()
    _default_signals()
    _stdio(work["log"])
    _own_score()
    groups = _open_groups(work["procs"])  # there are no control groups in the module's /sys
    linux.unshare(linux.CLONE_NEWNET | linux.CLONE_NEWNS | linux.CLONE_NEWUTS)
    socket.sethostname(work["hostname"])
    linux.loopback_up()
    _mounts(work)
    if values or work.get("binds"):
        shown.show(work.get("binds", []), values)
    os.umask(0o022)
    _enter(groups)  # late: what was done so far isn't the module's work, nor paid from its budget
    linux.drop_capabilities()


def _mounts(work: Work) -> None:
    linux.mount(None, "/", None, linux.MS_REC | linux.MS_PRIVATE)
    linux.mount(work["hosts"], "/etc/hosts", None, linux.MS_BIND)
    for name in ("resolv.conf", "nsswitch.conf"):  # beside the hosts file; see otter_agent.layout
        ours, theirs = f"{os.path.dirname(work['hosts'])}/{name}", f"/etc/{name}"
        if os.path.exists(ours) and os.path.exists(theirs):
            linux.mount(ours, theirs, None, linux.MS_BIND)
    if "volume" in work:
        flags = linux.MS_NOSUID | linux.MS_NODEV
        linux.mount(_loop_of(work["volume"]), work["cwd"], "ext4", flags)
    for path in work["readonly"]:
        linux.mount(path, path, None, linux.MS_BIND | linux.MS_REC)
        linux.restrict(path, linux.MS_RDONLY)
    _own_sys()


def _loop_of(image: str) -> str:
    """The loop device of a file. Mounted anew: what the agent mounts isn't seen from here."""
    for name in os.listdir("/sys/block"):
        with contextlib.suppress(OSError), open(f"/sys/block/{name}/loop/backing_file") as file:
            if file.read().rstrip("\n") == image:
                return f"/dev/{name}"
    raise RuntimeError(f"no loop device has {image}")


def _own_sys() -> None:
    """A fresh /sys shows the devices of this network namespace, and no control groups.

    A module that runs as root could write itself another budget there. Where a container hides
    parts of its /sys, the kernel gives a user namespace no fresh one: that one stays, read-only.
    """
    flags = linux.MS_RDONLY | linux.MS_NOSUID | linux.MS_NODEV | linux.MS_NOEXEC
    try:
        linux.mount("sysfs", "/sys", "sysfs", flags)
    except PermissionError:
        linux.mount("/sys", "/sys", None, linux.MS_BIND | linux.MS_REC)
        linux.restrict("/sys", flags)
        linux.mount("otter-hidden", "/sys/fs/cgroup", "tmpfs", flags)


def _read_secrets(fd: int) -> dict[str, str]:
    if fd < 0:
        return {}
    size = os.fstat(fd).st_size
    values: dict[str, str] = json.loads(os.pread(fd, size, 0))
    return values


def _become(user: int, group: int, groups: list[int], *, terminal: bool) -> None:
    """Another user: the kernel takes all capabilities of root's away with it."""
    if terminal:
        os.fchown(0, user, -1)  # else programs couldn't open it by its name
    os.setgroups(groups)
    os.setgid(group)
    os.setuid(user)


def _open_groups(procs: Sequence[str]) -> list[int]:
    return [os.open(path, os.O_WRONLY | os.O_CLOEXEC) for path in procs]


def _enter(groups: Sequence[int]) -> None:
    for fd in groups:
        os.write(fd, b"0")  # whoever writes it
        os.close(fd)


def _stdio(log: str) -> None:
    null = os.open("/dev/null", os.O_RDONLY)
    out = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    for fd, number in ((null, 0), (out, 1), (out, 2)):
        os.dup2(fd, number)
    os.close(null)
    os.close(out)


def _own_score() -> None:
    """An agent that is protected from the OOM killer doesn't protect its modules."""
    with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "r+") as file:
        if int(file.read()) < 0:
            file.write("0")


def _default_signals() -> None:
    """Python, nohup and shells ignore these, and an ignored signal stays ignored through exec."""
    signal.set_wakeup_fd(-1)
    for number in _SIGNALS:
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])


def _close_all_but(*kept: int) -> None:
    """A held child with another's pipe open would keep that one waiting for ever."""
    for name in os.listdir("/proc/self/fd"):
        if int(name) not in kept:
            with contextlib.suppress(OSError):
                os.close(int(name))


def _above(stdio: Sequence[int]) -> list[int]:
    """Copies of descriptors, none of which is 0, 1 or 2: `dup2` must not hit one still needed."""
    return [fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 3) for fd in stdio]


def _execute(work: Work, argv: Sequence[str]) -> NoReturn:
    what = work["cwd"]
    try:
        os.chdir(work["cwd"])
        what = argv[0]
        os.execvpe(argv[0], list(argv), work["env"])  # noqa: S606 - no shell on purpose
    except BaseException as exc:  # noqa: BLE001 - a child must never run the launcher's code
        why = exc.strerror if isinstance(exc, OSError) else str(exc)
        with contextlib.suppress(OSError):
            os.write(2, f"otter: cannot run {what}: {why}\n".encode())
        missing = isinstance(exc, (FileNotFoundError, NotADirectoryError))
        os._exit(NOT_FOUND if missing else CANNOT_RUN)
