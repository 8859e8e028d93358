"""What launcher and agent tell each other by files, and how a process is named for sure.

    ROOT/instances/MESH/MODULE/work.json   what to run; the agent writes it
    ROOT/instances/MESH/MODULE/life.json   how far it is; the launcher writes it

Files are replaced by rename, so a reader sees the old or the new one, whole. A pid alone may be
reused: boot id and start time come with it. Standard library only, import-light.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
from typing import Any, NotRequired, TypedDict

WORK = "work.json"
LIFE = "life.json"
SOCKET = "socket"
LOG = "log"
MESSAGE_LIMIT = 160 * 1024
"""Bytes of a request: below Linux's default socket buffer, and room for a long command line."""


class Shown(TypedDict):
    """What of the machine to show in a module: see `otter_agent.mounts.Bind`."""

    root: str
    relative: str
    target: str
    readonly: bool
    key: str


class Work(TypedDict):
    """What to run. `digest`, `group` and `budget` are the agent's own."""

    digest: str
    hostname: str
    argv: list[str]
    env: dict[str, str]
    cwd: str
    log: str
    hosts: str
    readonly: list[str]
    group: str
    budget: dict[str, Any]
    procs: list[str]
    """Files to write a pid to, to enter the control group."""
    kill: str
    """Directory of the control group."""
    oom: str
    """File with the group's counter `oom_kill`."""
    volume: NotRequired[str]
    """File that holds the file system of the work folder, on a loop device of the agent's."""
    binds: NotRequired[list[Shown]]
    secrets: NotRequired[str]
    """Folder in memory; the agent reads it and hands over what it holds at each start."""


class Request(TypedDict):
    """What to run inside a module, besides it."""

    argv: list[str]
    env: NotRequired[dict[str, str]]
    """Besides the module's own."""
    cwd: NotRequired[str]
    ids: NotRequired[tuple[int, int, list[int]] | None]
    """User, group, further groups; else root's."""
    terminal: NotRequired[bool]
    """Whether its stdin, stdout and stderr are a terminal, to be its controlling one."""


class Life(TypedDict):
    """One life of an instance. `phase`: held, running, ending, exited."""

    phase: str
    pid: int
    started: int
    """Clock ticks since boot."""
    boot: str
    parent: int
    """Pid of the launcher that forked it."""
    exit: int | None
    oom: bool


def folder(root: str, mesh: str, module: str) -> str:
    """Where the files of an instance are."""
    return f"{root}/instances/{mesh}/{module}"


def keys(root: str) -> list[tuple[str, str]]:
    """(mesh, module) of all instances."""
    found = []
    for mesh in _names(f"{root}/instances"):
        found += [(mesh, module) for module in _names(f"{root}/instances/{mesh}")]
    return found


def read(path: str) -> Any:
    """The JSON in a file; None if there is no such file."""
    try:
        with open(path, "rb") as file:
            return json.loads(file.read())
    except (FileNotFoundError, NotADirectoryError):
        return None


def write(path: str, value: Any) -> None:
    """Replace a file by rename, readable by its owner only (it holds environments)."""
    temporary = f"{path}.new"
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        data = json.dumps(value).encode()
        if os.write(fd, data) < len(data):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), temporary)
    finally:
        os.close(fd)
    os.rename(temporary, path)


def remove(root: str, mesh: str, module: str) -> None:
    """Forget an instance; absent is fine."""
    path = folder(root, mesh, module)
    for name in (WORK, LIFE, f"{WORK}.new", f"{LIFE}.new"):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(f"{path}/{name}")
    with contextlib.suppress(OSError):  # the mesh's folder goes with its last module
        os.rmdir(path)
        os.rmdir(os.path.dirname(path))


def boot_id() -> str:
    """Changes with each boot of the machine. Source: random(4)."""
    with open("/proc/sys/kernel/random/boot_id") as file:
        return file.read().strip()


def start_time(pid: int) -> int | None:
    """When a process started, in clock ticks since boot; None if there is none.

    Source: proc(5), field 22 of /proc/PID/stat, counted after the name's closing parenthesis.
    """
    fields = _stat(pid)
    return int(fields[19]) if fields else None


def alive(life: Life, boot: str) -> bool:
    """Whether the process of this life is still there.

    A zombie is, as long as the launcher that forked it is there to write down its exit.
    """
    fields = _stat(life["pid"])
    if life["boot"] != boot or not fields or int(fields[19]) != life["started"]:
        return False
    return fields[0] != b"Z" or int(fields[1]) == life["parent"]


def _stat(pid: int) -> list[bytes]:
    """Fields of /proc/PID/stat from the third (state, parent, …); empty if there is none."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return file.read().rpartition(b") ")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return []


def observe(root: str, mesh: str, module: str, boot: str) -> Life | None:
    """How far an instance is now: its record, checked against the kernel; None: never started."""
    path = f"{folder(root, mesh, module)}/{LIFE}"
    life: Life | None = read(path)
    if life is None or life["phase"] in ("exited", "ending") or alive(life, boot):
        return life
    # The launcher writes an exit before it reaps: gone means written, or that no one was there.
    life = read(path)
    if life is not None and life["phase"] in ("held", "running") and not alive(life, boot):
        return {**life, "phase": "exited", "exit": None}
    return life


def _names(path: str) -> list[str]:
    try:
        return sorted(os.listdir(path))
    except (FileNotFoundError, NotADirectoryError):
        return []
