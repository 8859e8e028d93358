"""A local port that leads to a module's: each connection to it is one to the module.

Prints nothing: callers pass a function that is told of what goes wrong with a connection. Must not
know: the CLI.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
import struct
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass

from otter_agent import api
from otter_ctl.duplex import Duplex
from otter_ctl.errors import AgentFault, AgentUnreachable, RemoteError
from otter_ctl.meshes import Meshes

LOOPBACK = "127.0.0.1"
IDLE_S = 60.0
"""A UDP conversation in which nothing was said for this long is over."""
_CHUNK_BYTES = 1 << 18
_BACKLOG = 128
_MOST_CONVERSATIONS = 256
_LARGEST_DATAGRAM = 65535
_MOST_WAITING = 64
"""Datagrams from one client that wait for the agent; then they are lost, as on any network."""
_NO_DESCRIPTORS_S = 0.2
_RESET = struct.pack("ii", 1, 0)

Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Goal:
    """Where to: `request` says the port and from where."""

    mesh: str
    module: str
    request: api.ForwardRequest


def listen(goal: Goal, port: int) -> socket.socket:
    """A socket at a local port, of loopback only; 0: any that is free.

    Raises:
        RemoteError: The port is taken.
    """
    kind = socket.SOCK_STREAM if goal.request.protocol == "tcp" else socket.SOCK_DGRAM
    made = socket.socket(socket.AF_INET, kind)
    try:
        if kind == socket.SOCK_STREAM:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind((LOOPBACK, port))
        if kind == socket.SOCK_STREAM:
            made.listen(_BACKLOG)
    except OSError as error:
        made.close()
        why = f"local {goal.request.protocol} port {port}: {(error.strerror or '').lower()}"
        hint = (
            f"name another: otterctl forward {goal.module} {goal.request.port} 0 takes a free one"
        )
        raise RemoteError("local", why, hint=hint) from error
    made.setblocking(False)
    return made


async def run(client: Meshes, goal: Goal, listener: socket.socket, tell: Tell) -> None:
    """Carry what comes to `listener`, until cancelled.

    Raises:
        AgentFault: There is no such mesh, module or host (any more).
    """
    take = _connections if goal.request.protocol == "tcp" else _conversations
    work = _Work(client, goal, tell)
    with listener:
        async with asyncio.TaskGroup() as group:
            taking = group.create_task(take(work, group, listener), name="forward")
            fault = await work.gone
            taking.cancel()
            work.cancel()
    raise fault


class _Work:
    """What all connections share.

    Attributes:
        gone: Gets the fault that says that there is nothing any more to lead to.
    """

    def __init__(self, client: Meshes, goal: Goal, tell: Tell) -> None:
        self.goal = goal
        self.gone: asyncio.Future[AgentFault] = asyncio.get_running_loop().create_future()
        self._client = client
        self._tell = tell
        self._tasks: set[asyncio.Task[None]] = set()

    def begin(self, group: asyncio.TaskGroup, work: Coroutine[None, None, None]) -> None:
        """One connection more."""
        task = group.create_task(work, name="forward: a connection")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def cancel(self) -> None:
        """No connections any more."""
        for task in self._tasks:
            task.cancel()

    async def connect(self, carry: Callable[[Duplex], Awaitable[None]]) -> None:
        """Open a way to the module's port and use it; what fails with it is told, never raised."""
        goal = self.goal
        try:
            async with self._client.forward(goal.mesh, goal.module, goal.request) as duplex:
                await carry(duplex)
        except AgentFault as fault:
            if fault.code == "not-found":
                if not self.gone.done():
                    self.gone.set_result(fault)
            else:
                self._tell(str(fault))
        except AgentUnreachable as error:
            self._tell(str(error))


# --- TCP ------------------------------------------------------------------------------------------


async def _connections(work: _Work, group: asyncio.TaskGroup, listener: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    while True:
        try:
            local, _ = await loop.sock_accept(listener)
        except OSError as error:
            if error.errno not in (errno.EMFILE, errno.ENFILE):
                continue  # that one is gone already
            await asyncio.sleep(_NO_DESCRIPTORS_S)
            continue
        local.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        work.begin(group, _connection(work, local))


async def _connection(work: _Work, local: socket.socket) -> None:
    """Carry one connection; unless both sides end it, it breaks."""
    whole = False

    async def carry(duplex: Duplex) -> None:
        nonlocal whole
        async with asyncio.TaskGroup() as group:
            ways = {
                group.create_task(_send(local, duplex), name="forward: to the module"),
                group.create_task(_receive(local, duplex), name="forward: from the module"),
            }
            done, others = await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            if all(way.result() for way in done) and others:
                await asyncio.wait(others)
            whole = all(way.done() and way.result() for way in ways)
            for way in ways:
                way.cancel()

    with local:
        try:
            await work.connect(carry)
        finally:
            if not whole:
                local.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)


async def _send(local: socket.socket, duplex: Duplex) -> bool:
    """Until the local side has sent all; False: something broke."""
    loop = asyncio.get_running_loop()
    try:
        while data := await loop.sock_recv(local, _CHUNK_BYTES):
            await duplex.send(data)
        await duplex.send(b"")
    except (OSError, AgentUnreachable):
        return False
    return True


async def _receive(local: socket.socket, duplex: Duplex) -> bool:
    """Until the module has sent all; False: something broke."""
    loop = asyncio.get_running_loop()
    try:
        while isinstance(data := await duplex.receive(), bytes):
            if not data:
                local.shutdown(socket.SHUT_WR)
                return True
            await loop.sock_sendall(local, data)
    except (OSError, AgentUnreachable):
        return False
    return False


# --- UDP ------------------------------------------------------------------------------------------


async def _conversations(work: _Work, group: asyncio.TaskGroup, listener: socket.socket) -> None:
    """Who says something for the first time begins a conversation."""
    loop = asyncio.get_running_loop()
    waiting: dict[tuple[str, int], asyncio.Queue[bytes]] = {}

    async def converse(client: tuple[str, int], said: asyncio.Queue[bytes]) -> None:
        try:
            await work.connect(lambda duplex: _converse(duplex, listener, client, said))
        finally:
            del waiting[client]

    while True:
        try:
            data, client = await loop.sock_recvfrom(listener, _LARGEST_DATAGRAM)
        except OSError:
            continue  # an earlier answer was refused
        if client not in waiting:
            if len(waiting) >= _MOST_CONVERSATIONS:
                continue  # lost, as on any network
            waiting[client] = asyncio.Queue(_MOST_WAITING)
            work.begin(group, converse(client, waiting[client]))
        with contextlib.suppress(asyncio.QueueFull):
            waiting[client].put_nowait(data)


async def _converse(
    duplex: Duplex, listener: socket.socket, client: tuple[str, int], said: asyncio.Queue[bytes]
) -> None:
    """Until nothing was said for a while, or the module's side is gone."""
    loop = asyncio.get_running_loop()
    heard = loop.time()

    async def answer() -> None:
        nonlocal heard
        with contextlib.suppress(AgentUnreachable):
            while isinstance(data := await duplex.receive(), bytes):
                heard = loop.time()
                with contextlib.suppress(OSError):
                    await loop.sock_sendto(listener, data, client)

    async def ask() -> None:
        nonlocal heard
        while True:
            try:
                async with asyncio.timeout_at(heard + IDLE_S):
                    data = await said.get()
            except TimeoutError:
                if loop.time() - heard >= IDLE_S:
                    return
                continue
            heard = loop.time()
            with contextlib.suppress(AgentUnreachable):
                await duplex.send(data)

    async with asyncio.TaskGroup() as group:
        both = {group.create_task(work, name="forward: UDP") for work in (ask(), answer())}
        await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        for task in both:
            task.cancel()
