"""Connections into a mesh from one of its hosts, for `otterctl forward`.

The caller's bytes go through the agent: what is opened here belongs to the request that asked for
it, and ends with it, or with the host's namespace. Must not know: HTTP.
"""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from otter_agent import api
from otter_agent.errors import AgentError
from otter_agent.network import Network

CONNECT_S = 15.0
_RESET = struct.pack("ii", 1, 0)
_ENDED = frozenset({6, 7, 9, 11})
"""Time-wait, close, last-ack, closing. Source: net/tcp_states.h."""
_KINDS = {"tcp": socket.SOCK_STREAM, "udp": socket.SOCK_DGRAM}


@dataclass(frozen=True, slots=True)
class Opened:
    """A connected socket that never blocks.

    Attributes:
        gone: Set when its host is to go: it has to be closed then.
    """

    socket: socket.socket
    gone: asyncio.Event


@asynccontextmanager
async def opened(
    network: Network, spec: api.MeshSpec, module: api.ModuleSpec, asked: api.ForwardRequest
) -> AsyncIterator[Opened]:
    """A connection to a module's port; closed afterwards.

    Args:
        network: Of this machine.
        spec: The module's mesh.
        module: Whom to connect to.
        asked: Its port, and from where.

    Raises:
        AgentError: `refused`, `bad-request`: with what could not be done, and what to try.
    """
    host = _host(spec, asked.at or module.host)
    if module.runtime == "fake":
        raise AgentError("bad-request", f"module {module.name} is a fake: it has no network")
    try:
        made = await asyncio.to_thread(
            network.open_socket, spec.name, host.name, _KINDS[asked.protocol]
        )
    except OSError as error:
        why = f"host {host.name} of mesh {spec.name} isn't up ({error.strerror})"
        raise AgentError("refused", why) from error
    loop, gone = asyncio.get_running_loop(), asyncio.Event()
    with (
        network.on_removal(spec.name, host.name, lambda: loop.call_soon_threadsafe(gone.set)),
        made,
    ):
        made.setblocking(False)
        await _connect(made, host.address, module, asked)
        try:
            yield Opened(made, gone)
        finally:
            _let_go(made)


def _let_go(made: socket.socket) -> None:
    """A connection that both sides have ended ends; any other breaks, at once.

    One that is closed in the middle would hold its namespace until somebody answers.
    """
    if made.type == socket.SOCK_STREAM:
        state = made.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0]
        if state not in _ENDED:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)


async def _connect(
    made: socket.socket, source: str, module: api.ModuleSpec, asked: api.ForwardRequest
) -> None:
    where = f"module {module.name}: {asked.protocol} port {asked.port}"
    loop = asyncio.get_running_loop()
    try:
        made.bind((source, 0))
        async with asyncio.timeout(CONNECT_S):
            await loop.sock_connect(made, (module.address, asked.port))
    except TimeoutError as error:
        why = f"{where}: no answer within {CONNECT_S:g} s"
        raise AgentError("refused", why, hint="is the module up? see `otterctl status`") from error
    except OSError as error:
        hint = "does the module listen there, at all its addresses?"
        words = os.strerror(error.errno or 0).lower()
        raise AgentError(
            "refused", f"{where}: {words}", hint=hint if error.errno == errno.ECONNREFUSED else ""
        ) from error


def _host(spec: api.MeshSpec, name: str) -> api.HostSpec:
    for host in spec.hosts:
        if host.name == name:
            return host
    known = ", ".join(h.name for h in spec.hosts)
    raise AgentError(
        "not-found", f"no host {name!r} in mesh {spec.name}", hint=f"there are: {known}"
    )
