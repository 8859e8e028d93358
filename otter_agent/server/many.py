"""What controllers ask who have several machines: the time, and whose turn it is."""

from __future__ import annotations

import asyncio
import ipaddress
import time

import msgspec
from aiohttp import web

from otter_agent import api
from otter_agent.errors import AgentError
from otter_agent.server.common import AGENT, answer, number
from otter_agent.turns import Turns

TURNS = web.AppKey("turns", Turns)


async def _clock(request: web.Request) -> web.Response:
    return answer(api.ClockReading(wall_s=time.time(), monotonic_s=time.monotonic()))


async def _lease(request: web.Request) -> web.Response:
    lease = api.decode(await request.read(), api.Lease)
    if not lease.holder.isprintable() or not 0 < len(lease.holder) <= 100:
        raise AgentError("bad-request", "a lease needs a holder")
    if not lease.who.isprintable() or len(lease.who) > 200:
        raise AgentError("bad-request", "who holds the lease is no name")
    request.app[TURNS].take(request.match_info["mesh"], lease, time.monotonic())
    return answer(msgspec.structs.replace(lease, for_s=max(0.0, lease.for_s)))


def check_turn(request: web.Request) -> None:
    """Whether who asks may change the path's mesh now.

    Raises:
        AgentError: `locked`: somebody else has its turn.
    """
    holder = request.query.get("lease", "")
    request.app[TURNS].check(request.match_info["mesh"], holder, time.monotonic())


async def _reach(request: web.Request) -> web.Response:
    local, remote = request.query.get("from", ""), request.query.get("to", "")
    mtu = number(request, "mtu") or api.MTU_BYTES
    for address in (local, remote):
        try:
            ipaddress.IPv4Address(address)
        except ValueError as error:
            raise AgentError("bad-request", f"{address[:40]!r} is no IPv4 address") from error
    if not 576 <= mtu <= 65535:
        raise AgentError("bad-request", f"an MTU of {mtu} bytes")
    machine = request.app[AGENT].machine
    return answer(await asyncio.to_thread(machine.reach, local, remote, mtu))


ROUTES = (
    web.get("/v1/reach", _reach),
    web.get("/v1/clock", _clock),
    web.put("/v1/meshes/{mesh}/lease", _lease),
)
