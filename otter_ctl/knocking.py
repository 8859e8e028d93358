"""Whether anything gets in where tunnels come in, from machine to machine, before they are made.

Pings don't tell: firewalls let these in, and often nothing else; and VXLAN greets nobody.
Must not know: how meshes are planned, how machines are reached by SSH.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from otter_agent import api
from otter_ctl.client import AgentClient
from otter_ctl.errors import PlanError
from otter_ctl.many import each
from otter_ctl.planning.tunnels import Pair, Wires, chosen

if TYPE_CHECKING:
    from otter_ctl.spread import Fleet

MOST = 50
"""Machines among whom it is tried: of more, requests would take longer than what they are for."""
LISTENING_S = 4.0
"""Who doesn't listen by then isn't waited for: the others do for `KNOCK_S` only."""


@dataclass(frozen=True, slots=True, order=True)
class Way:
    """From one machine to where another one's tunnels of a kind come in."""

    one: str
    other: str
    kind: api.TunnelKind
    port: int


@dataclass(frozen=True, slots=True)
class Tried:
    """Ways that were tried, as far as machines can."""

    open: frozenset[Way] = frozenset()
    shut: frozenset[Way] = frozenset()

    @property
    def passing(self) -> frozenset[Pair]:
        """Between which machines something gets through, that way."""
        return frozenset((way.one, way.other) for way in self.open)


def wanted(
    links: Sequence[tuple[str, Pair]], over: Mapping[str, api.TunnelKind | None], wires: Wires
) -> list[Way]:
    """The ways that links will take; none of more than `MOST` machines.

    Args:
        links: Directions between machines: name, from which to which.
        over: Link -> what the topology asks for.
        wires: With who doesn't hear whom.
    """
    if len({machine for _, pair in links for machine in pair}) > MOST:
        return []
    found = []
    for name, (one, other) in links:
        link = api.Link(name=name, a=one, b=other, over=over.get(name))
        try:
            kind, _ = chosen(link, one, other, wires)
        except PlanError:
            continue  # the plan is refused for that
        if kind == "udp" and (one, other) in wires.deaf and (other, one) not in wires.deaf:
            continue  # it is behind a NAT, and greets first
        port = api.TUNNEL_PORT if kind == "vxlan" else wires.ports.get(other, api.UDP_PORT)
        found.append(Way(one, other, kind, port))
    return sorted(set(found))


async def tried(fleet: Fleet, wires: Wires, ways: Sequence[Way]) -> Tried:
    """Try them all at once; a machine that can't (its agent isn't root's) tries none.

    What was tried while perhaps nobody listened any more is neither open nor shut.
    """
    if not ways:
        return Tried()
    key = secrets.token_hex(16)
    until: dict[str, float] = {}

    async def listen(name: str, agent: AgentClient) -> api.Knocked:
        ports = tuple(sorted({way.port for way in ways if way.other == name}))
        asked = api.Knocking(local=wires.addresses[name], key=key, ports=ports)
        until[name] = time.monotonic() + api.KNOCK_S
        try:
            async with asyncio.timeout(LISTENING_S):
                return await agent.knock(asked)
        except TimeoutError:
            return api.Knocked(error=f"no answer within {LISTENING_S:g} s")

    there = await each(await fleet.agents.of({way.other for way in ways}), listen)
    listening = {name for name, said in there.good.items() if not said.error}
    is_open, shut = set[Way](), set[Way]()
    of: dict[str, list[Way]] = {}
    for way in ways:
        if way.other in listening:
            of.setdefault(way.one, []).append(way)

    async def knock(name: str, agent: AgentClient) -> api.Knocked:
        doors = tuple(
            api.Door(address=wires.addresses[way.other], port=way.port) for way in of[name]
        )
        said = await agent.knock(api.Knocking(local=wires.addresses[name], key=key, doors=doors))
        now = time.monotonic()
        for way, answered in zip(of[name], said.answered, strict=False):
            if answered:
                is_open.add(way)
            elif now < until[way.other]:
                shut.add(way)
        return said

    await each(await fleet.agents.of(of), knock)
    return Tried(frozenset(is_open), frozenset(shut))


def words(found: Tried, ways: Collection[Way], wires: Wires) -> Iterator[str]:
    """What is to be said of ways that are shut: a line for each port of a machine.

    Args:
        found: What was found.
        ways: All that were wanted.
        wires: Between machines that don't even answer pings something else is wrong.
    """
    from_: dict[tuple[str, int], list[str]] = {}
    for way in sorted(found.shut):
        if (way.one, way.other) not in wires.deaf and not _greeted(way, found, ways):
            from_.setdefault((way.other, way.port), []).append(way.one)
    for (name, port), machines in sorted(from_.items()):
        addresses = [wires.addresses[one] for one in machines]
        allow = "; ".join(f"ufw allow proto udp from {a} to any port {port}" for a in addresses)
        yield (
            f"machine {name} ({wires.addresses[name]}): nothing that {', '.join(machines)} "
            f"{'sends' if len(machines) == 1 else 'send'} to its UDP port {port} comes in: "
            f"links from there carry nothing; let it through its firewall: {allow}"
        )


def _greeted(way: Way, found: Tried, ways: Collection[Way]) -> bool:
    """Whether the other end can greet first, after which firewalls let answers in: of UDP alone."""
    if way.kind == "vxlan":
        return False
    back = {one for one in ways if (one.one, one.other) == (way.other, way.one)}
    return any(one.kind == "udp" and one not in found.shut for one in back)
