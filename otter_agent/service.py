"""One run of the agent as a process: its lock, pid file, signals, and word to systemd."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import gc
import os
import signal
import socket
import sys
import time
from collections.abc import Iterator
from typing import TextIO

from otter_agent import processes
from otter_agent.agent import Agent
from otter_agent.config import read, socket_group
from otter_agent.errors import AgentError
from otter_agent.ground.ground import Ground, find, stand
from otter_agent.layout import Layout
from otter_agent.machine import Config, Machine, open_machine
from otter_agent.server import serving
from otter_agent.state import State

LONGEST_SOCKET_PATH = 92
"""unix(7) allows 107 bytes; while it is made, the socket's name is a little longer."""
ENDING_S = 10.0
"""How long an agent that was killed may keep its lock: a thread, or a child that it had just
forked, may end later than the process that `ps` shows."""
_LOOK_EVERY_S = 0.02
_GARBAGE = 50_000
"""New objects between two looks at them, for garbage in circles."""


def serve(config: Config, *, debug: bool = False) -> None:
    """Serve until SIGTERM or SIGINT. Meshes live on; the next agent adopts them.

    Raises:
        AgentError: Another agent serves this root (`in-use`), or its state is newer than this, or
            damaged.
        OSError: The root can't be written.
    """
    with opened(config) as (machine, state):
        state.meshes()  # what can't be read is told before anything is made
        group = _group(machine.ground)
        _say_what_is_lacking(machine)
        look_seldom_for_garbage()
        asyncio.run(_serve(machine, state, group), debug=debug)


@contextlib.contextmanager
def opened(config: Config) -> Iterator[tuple[Machine, State]]:
    """A root's machine and memory, for the length of the block nobody else's.

    Raises:
        AgentError: An agent serves this root (`in-use`), or its state is newer than this.
        OSError: The root can't be written.
    """
    places = find(config.root)
    layout = Layout(places.run, places.lib)
    if len(os.fsencode(layout.socket)) > LONGEST_SOCKET_PATH:
        raise AgentError(
            "bad-request",
            f"{layout.socket}: too long for a Unix socket",
            hint=f"at most {LONGEST_SOCKET_PATH} bytes: pick a shorter --root",
        )
    layout.run.mkdir(parents=True, exist_ok=True)
    layout.lib.mkdir(parents=True, exist_ok=True)
    # Module folders are writable for images' own users, and the database holds modules' variables.
    layout.lib.chmod(0o700)
    with _only_one(layout):
        ground = stand(places)
        state = State(layout.database)
        try:
            yield open_machine(config, ground, state.agent_id()), state
        finally:
            state.close()


def _group(ground: Ground) -> int:
    """Whose group's members may use the socket; -1: this process's.

    That, too, where the file is broken or names a group that isn't known: a directory service may
    not answer yet when a machine comes up. Meshes are looked after all the same, and fewer people
    get in, not more.
    """
    try:
        settings = read(ground.places.config)
        if settings.group and ground.user:
            why = f"{settings.file}: group: the agent of {ground.user} serves nobody else"
            raise AgentError("bad-config", why, hint="leave the key out, or run the agent as root")
        return socket_group(settings)
    except AgentError as error:
        said = "until that is mended and it starts anew, its socket is its own group's"
        print(f"otter-agent: {error}; {said}", file=sys.stderr)
        return -1


def look_seldom_for_garbage() -> None:
    """There is little that only a search finds, and Python searches every 700 new objects.

    With the state of a thousand fake machines that took a third of an apply's time.
    """
    gc.freeze()
    gc.set_threshold(_GARBAGE)


def _say_what_is_lacking(machine: Machine) -> None:
    """To who started it, or the log: root's agent lacks nothing by who it is."""
    if machine.ground.user:
        print(f"otter-agent: without root, in namespaces of {machine.ground.user}", file=sys.stderr)
    for line in machine.lacks:
        print(f"otter-agent: no {line}", file=sys.stderr)


@contextlib.contextmanager
def _only_one(layout: Layout) -> Iterator[None]:
    """Hold the root's lock, with our pid beside the socket."""
    with layout.lock.open("w") as lock:
        deadline = time.monotonic() + ENDING_S
        while not _locked(lock):
            pid = _pid(layout)
            if processes.runs(pid) or time.monotonic() > deadline:
                raise AgentError(
                    "in-use",
                    f"{layout.run}: another otter-agent (pid {pid or '?'}) serves this root",
                    hint="use that one, or give this one a --root of its own",
                )
            time.sleep(_LOOK_EVERY_S)
        fresh = layout.pid_file.with_suffix(".new")
        fresh.write_text(f"{os.getpid()}\n")
        fresh.rename(layout.pid_file)
        try:
            yield
        finally:
            layout.pid_file.unlink(missing_ok=True)


def _locked(lock: TextIO) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _pid(layout: Layout) -> int:
    """Of the agent that has the lock; 0: it hasn't said yet, or says so no more."""
    try:
        return int(layout.pid_file.read_text())
    except (OSError, ValueError):
        return 0


async def _serve(machine: Machine, state: State, gid: int) -> None:
    stop, started = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    agent = Agent(machine, state, on_idle=stop.set)
    async with asyncio.TaskGroup() as group:
        work = group.create_task(agent.serve(started, stop), name="agent")
        waiting = group.create_task(started.wait(), name="started")
        await asyncio.wait((work, waiting), return_when=asyncio.FIRST_COMPLETED)
        if work.done():
            waiting.cancel()
            return
        async with serving(agent, machine.layout.socket, gid):
            notify("READY=1")
            await asyncio.wait((work,))
            notify("STOPPING=1")


def notify(message: str) -> None:
    """Tell systemd, if it started us (sd_notify(3): a datagram to $NOTIFY_SOCKET)."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    if address.startswith("@"):
        address = "\0" + address[1:]
    with (
        contextlib.suppress(OSError),
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as outlet,
    ):
        outlet.connect(address)
        outlet.send(message.encode())
