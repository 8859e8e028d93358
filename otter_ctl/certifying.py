"""`verify` of a mesh on many machines: each measures its own part, both the network between them.

Each machine measures as far as where packets leave it, by one clock. That is all of a link that is
made scarce there; of a link without properties, which is the real network, it is nothing. So what
these take and carry is measured between their machines, as `apply` does it.
Must not know: SSH, how anything is printed.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Collection, Iterator, Mapping
from typing import TYPE_CHECKING

from msgspec.structs import asdict, replace

from net.errors import OtterError
from otter_agent import api
from otter_ctl.errors import AgentFault
from otter_ctl.merging import led
from otter_ctl.planning.tunnels import Pair, Wires
from otter_ctl.sounding import gauged

if TYPE_CHECKING:
    from otter_ctl.client import AgentClient
    from otter_ctl.spread import Fleet

BETWEEN = "the real network between the machines"
HERE = "as far as it leaves its machine"
_DOING = "the network between machines"
Key = tuple[str, str, str]
"""Link, and from which host to which."""


class BesideRow(api.VerifyRow, frozen=True):
    """The delay of a link on top of the network between its machines."""

    beside_s: float | None = None
    """What that network took one way when the link was made; None: it wasn't measured."""


async def certified(
    fleet: Fleet, mesh: str, request: api.VerifyRequest
) -> AsyncGenerator[api.VerifyLine, None]:
    """Measure machine after machine: they may share a computer, as those of a lab.

    Args:
        fleet: All machines.
        mesh: Which mesh.
        request: What to measure.

    Raises:
        AgentFault: Something is named that is on none of them.
    """
    found = await fleet.places.parts(mesh)
    agents = await fleet.places.clients(mesh)
    real = unshaped(found.parts, found.directory)
    added = on_top(found.parts, found.directory)
    held: list[api.VerifyRow] = []
    last = api.VerifyLine()
    refused: list[OtterError] = []
    for agent in agents.values():
        try:
            async for line in agent.verify(mesh, request):
                held += (row for row in line.rows if _key(row) in real)
                others = (row for row in line.rows if _key(row) not in real)
                told = tuple(beside(row, added.get(_key(row))) for row in others)
                last = replace(line, rows=told)
                yield last
        except AgentFault as fault:
            if fault.code != "not-found":
                raise
            refused.append(fault)
    if len(refused) == len(agents):
        raise refused[0]

    async def of(names: Collection[str]) -> Mapping[str, AgentClient]:
        return {name: agents[name] for name in names if name in agents}

    if held:
        pairs = list(dict.fromkeys(real[_key(row)] for row in held))
        underlay = (await gauged(of, _wires(found.parts, real), pairs)).underlay
        rows = tuple(new for row in held for new in whole(row, underlay.get(real[_key(row)])))
        yield replace(last, doing=_DOING, rows=rows)


def unshaped(
    parts: Mapping[str, api.MeshStatus], directory: api.Directory | None
) -> dict[Key, Pair]:
    """Directions of which nothing is asked that lead to another machine -> from which to which."""
    return {
        (link.name, link.from_, link.to): (machine, link.tunnel.machine)
        for machine, link in led(parts, directory)
        if link.tunnel is not None and link.tunnel.machine and not link.asked
    }


def on_top(
    parts: Mapping[str, api.MeshStatus], directory: api.Directory | None
) -> dict[Key, tuple[str, api.TunnelState]]:
    """Directions that are scarce, lead away and have all of their delay -> whence and how."""
    return {
        (link.name, link.from_, link.to): (machine, link.tunnel)
        for machine, link in led(parts, directory)
        if link.tunnel is not None and link.asked and not link.tunnel.less_s
    }


def beside(row: api.VerifyRow, way: tuple[str, api.TunnelState] | None) -> api.VerifyRow:
    """A row of such a direction: a delay says what the network takes besides; others are the same.

    Args:
        row: As its machine measured it.
        way: From which machine and how it leads away; None: it doesn't, or that is taken off.
    """
    if way is None or row.property != "delay" or row.measured is None:
        return row
    machine, tunnel = way
    network = f"the network between {machine} and {tunnel.machine or 'another machine'} beside it"
    if tunnel.underlay is None:
        takes, beside_s = f"and {network}, which was not measured", None
    else:
        beside_s = tunnel.underlay.delay_s
        takes = f"and {beside_s * 1000:.3g} ms of {network} (subtract_underlay takes it off)"
    note = "; ".join(filter(None, (row.note, takes)))
    return BesideRow(**{**asdict(row), "note": note}, beside_s=beside_s)


def whole(row: api.VerifyRow, found: api.Underlay | None) -> Iterator[api.VerifyRow]:
    """A row of such a direction with what is between the machines; after the delay, the rate.

    Args:
        row: As its machine measured it.
        found: Between the machines; None: no answer.
    """
    if row.property != "delay" or row.measured is None:
        yield replace(row, note="; ".join(filter(None, (row.note, HERE))))
        return
    if found is None:
        note = f"{HERE}: {BETWEEN} gave no answer"
        yield replace(row, note="; ".join(filter(None, (row.note, note))))
        return
    measured, low, high = (
        None if x is None else max(0.0, x) + found.delay_s
        for x in (row.measured, row.low, row.high)
    )
    note = "; ".join(filter(None, (row.note, BETWEEN)))
    yield replace(row, measured=measured, low=low, high=high, note=note)
    if found.rate_bps is not None:
        yield replace(
            row, property="rate", measured=found.rate_bps, low=None, high=None, n=1, note=BETWEEN
        )


def _wires(parts: Mapping[str, api.MeshStatus], real: Mapping[Key, Pair]) -> Wires:
    """What measuring has to know of machines, as the mesh's links know it."""
    tunnels = [(name, link) for name, part in parts.items() for link in part.spec.links]
    addresses = {name: link.tunnel.local for name, link in tunnels if link.tunnel is not None}
    closed = {(n, x.name) for n, x in tunnels if x.tunnel is not None and not x.tunnel.opens}
    deaf = {pair for (link, _, _), pair in real.items() if (pair[0], link) in closed}
    deaf |= {(b, a) for (link, _, _), (a, b) in real.items() if (b, link) in closed}
    mtu = min(part.spec.mtu for part in parts.values())
    return Wires(addresses=addresses, mtu=mtu + api.TUNNEL_BYTES, deaf=frozenset(deaf))


def _key(row: api.VerifyRow) -> Key:
    return row.link, row.from_, row.to
