"""Who asks, and whether a mesh is theirs: the uid that the kernel names at the socket's other end.

A seat belt, no lock: who may open the socket is as good as root on this machine, root included.
It keeps colleagues from changing each other's meshes by mistake.
"""

from __future__ import annotations

import socket
import struct
from typing import Any

from aiohttp import web

from otter_agent.errors import AgentError
from otter_agent.server.common import AGENT, flag
from otter_agent.users import machine_uid, user_name

_UCRED = struct.Struct("3i")
"""pid, uid, gid: unix(7), SO_PEERCRED."""


def caller(request: web.Request) -> int | None:
    """The uid of the process that opened this connection; None where the kernel can't tell."""
    transport = request.transport
    peer = None if transport is None else transport.get_extra_info("socket")
    if peer is None or peer.family != socket.AF_UNIX:
        return None
    _, uid, _ = _UCRED.unpack(peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size))
    return machine_uid(int(uid))


def forced(request: web.Request) -> bool:
    """Whether the caller said that it means it (`--force`)."""
    return flag(request, "force")


def changes(request: web.Request) -> bool:
    """Whether a request may change a mesh: all do but reads, and commands come as reads that talk.

    So a path that somebody adds is guarded without a thought.
    """
    resource = request.match_info.route.resource
    # Of the route, not of the path: a mesh may be called `check`.
    if "mesh" not in request.match_info or (resource and resource.canonical.endswith("/check")):
        return False
    return request.method not in ("GET", "HEAD") or "Upgrade" in request.headers


@web.middleware
async def owners_only(request: web.Request, handler: Any) -> web.StreamResponse:
    """Ask whose mesh it is, before any handler that may change it."""
    if changes(request):
        check_owner(request)
    response: web.StreamResponse = await handler(request)
    return response


def check_owner(request: web.Request) -> None:
    """Asked by `owners_only` before anything of the path's mesh is changed.

    Raises:
        AgentError: The mesh is another user's (`not-owner`), and `force` wasn't said.
    """
    mesh = request.match_info["mesh"]
    owner, uid = request.app[AGENT].owner_of(mesh), caller(request)
    if forced(request) or None in (owner, uid) or owner == uid:
        return
    assert owner is not None
    raise AgentError(
        "not-owner",
        f"mesh {mesh} belongs to {user_name(owner)}, not to {user_name(uid)}",
        hint="ask them; --force does it all the same",
    )
