"""What controllers ask who have several machines: the time, and whose turn it is."""

from __future__ import annotations

import asyncio
import ipaddress
import re
import time

import msgspec
from aiohttp import web

from otter_agent import api
from otter_agent.errors import AgentError
from otter_agent.server.common import AGENT, answer, number
from otter_agent.turns import Turns

TURNS = web.AppKey("turns", Turns)
_KEY = re.compile(r"[0-9a-f]{32}")
_MOST_DOORS = 1000


async def _clock(request: web.Request) -> web.Response:
    return answer(api.ClockReading(wall_s=time.time(), monotonic_s=time.monotonic()))


async def _lease(request: web.Request) -> web.Response:
    lease = api.decode(await request.read(), api.Lease)
    if not lease.holder.isprintable() or not 0 < len(lease.holder) <= 100:
        raise AgentError("bad-request", "a lease needs a holder")
    if not lease.who.isprintable() or len(lease.who) > 200:
        raise AgentError("bad-request", "who holds the lease is no name")
    if max(len(lease.controller), len(lease.instead)) > 200:
        raise AgentError("bad-request", "a controller's name is that long")
    with request.app[AGENT].needed():  # whose turn it is waits for others, may be for long
        pass
    request.app[TURNS].take(request.match_info["mesh"], lease, time.monotonic())
    return answer(msgspec.structs.replace(lease, for_s=max(0.0, lease.for_s)))


def check_turn(request: web.Request) -> None:
    """Whether who asks may change the path's mesh now.

    Raises:
        Locked: Somebody else has its turn.
    """
    holder = request.query.get("lease", "")
    request.app[TURNS].check(request.match_info["mesh"], holder, time.monotonic())


async def _reach(request: web.Request) -> web.Response:
    local, remote = request.query.get("from", ""), request.query.get("to", "")
    mtu = number(request, "mtu") or api.MTU_BYTES
    for address in (local, remote):
        _address(address)
    if not 576 <= mtu <= 65535:
        raise AgentError("bad-request", f"an MTU of {mtu} bytes")
    machine = request.app[AGENT].machine
    return answer(await asyncio.to_thread(machine.reach, local, remote, mtu))


async def _underlay(request: web.Request) -> web.Response:
    asked = api.decode(await request.read(), api.Probing)
    for address in filter(None, (asked.local, asked.remote)):
        _address(address)
    if not _KEY.fullmatch(asked.key) or not 576 <= asked.mtu <= 65535:
        raise AgentError("bad-request", "a key is 32 hex digits, an MTU 576 to 65535 bytes")
    if asked.remote and not 0 < asked.port < 65536:
        raise AgentError("bad-request", f"port {asked.port}")
    return answer(await asyncio.to_thread(request.app[AGENT].machine.underlay, asked))


async def _knock(request: web.Request) -> web.Response:
    asked = api.decode(await request.read(), api.Knocking)
    for address in (asked.local, *(door.address for door in asked.doors)):
        _address(address)
    ports = {*asked.ports, *(door.port for door in asked.doors)}
    if not _KEY.fullmatch(asked.key) or not all(0 < port < 65536 for port in ports):
        raise AgentError("bad-request", "a key is 32 hex digits, a port 1 to 65535")
    if bool(asked.ports) == bool(asked.doors) or len(asked.ports) + len(asked.doors) > _MOST_DOORS:
        raise AgentError("bad-request", f"either doors or ports, up to {_MOST_DOORS}")
    return answer(await asyncio.to_thread(request.app[AGENT].machine.knock, asked))


def _address(text: str) -> None:
    try:
        ipaddress.IPv4Address(text)
    except ValueError as error:
        raise AgentError("bad-request", f"{text[:40]!r} is no IPv4 address") from error


ROUTES = (
    web.get("/v1/reach", _reach),
    web.get("/v1/clock", _clock),
    web.post("/v1/underlay", _underlay),
    web.post("/v1/knock", _knock),
    web.put("/v1/meshes/{mesh}/lease", _lease),
)
