"""How links get from machine to machine: by the kernel's VXLAN or over UDP, and why. Pure.

    VXLAN      both kernels have it for the agent, and each machine reaches the other
    UDP        carried by a process of the agent's: also where one end can't be reached from the
               other (a NAT), which then opens the flow; where the kernel or the user has no VXLAN

What a link has it keeps, as long as that can be had. Must not know: SSH, agents, how it is tried.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from net.links.spec import LinkSpec
from net.units import format_duration, format_rate
from otter_agent import api
from otter_ctl.errors import PlanError

Pair = tuple[str, str]
"""From one machine to another."""
Measuring = Literal["not", "new", "all"]
"""What the network between machines carries: of those of which it isn't known yet, or of all."""


@dataclass(frozen=True, slots=True)
class Wires:
    """What the machines of a mesh are to each other.

    Attributes:
        addresses: Machine -> its IPv4 address for data.
        key: Random, 32 hex digits: what follows from it, tunnels get that are new.
        mtu: What all the ways between them carry, without what a tunnel adds.
        kept: Link, or pair of machines (`talking.pair`) -> the tunnel that it has now.
        kept_mtu: What the mesh's ways carry as it is now; 0: it isn't there.
        no_vxlan: Machine -> why it can have none.
        no_udp: The same, of tunnels over UDP.
        ports: Machine -> at which UDP port those come in.
        deaf: Ways that were tried, and on which nothing came back.
        kept_opens: Machine and link -> whether that end greets first, of links over UDP.
        underlay: What the network does that way.
        clock: The machine whose clock is the mesh's now; empty: none yet.
    """

    addresses: Mapping[str, str] = field(default_factory=dict)
    key: str = "0" * 32
    mtu: int = api.MTU_BYTES
    kept: Mapping[str, api.Tunnel] = field(default_factory=dict)
    kept_mtu: int = 0
    no_vxlan: Mapping[str, str] = field(default_factory=dict)
    no_udp: Mapping[str, str] = field(default_factory=dict)
    ports: Mapping[str, int] = field(default_factory=dict)
    deaf: frozenset[Pair] = frozenset()
    kept_opens: Mapping[tuple[str, str], bool] = field(default_factory=dict)
    underlay: Mapping[Pair, api.Underlay] = field(default_factory=dict)
    clock: str = ""

    def keeps(self, link: str, one: str, other: str) -> api.Tunnel | None:
        """The tunnel that a link has now, if it joins these machines."""
        kept = self.kept.get(link)
        ends = {self.addresses[one], self.addresses[other]}
        return kept if kept is not None and {kept.local, kept.remote} == ends else None


def chosen(link: api.Link, one: str, other: str, wires: Wires) -> tuple[api.TunnelKind, str]:
    """How a link gets from machine to machine, and why.

    Raises:
        PlanError: It can't, or not as the topology asks.
    """
    one, other = sorted((one, other))  # both ends are told the same
    lacks = {"vxlan": _no_vxlan(one, other, wires), "udp": _no_udp(one, other, wires)}
    if link.over is not None:
        if lacks[link.over]:
            why = f'tunnel = "{link.over}" can\'t be had: {lacks[link.over]}'
            raise PlanError(
                f"link {link.name}", why, hint="leave `tunnel` out: what works is taken"
            )
        return link.over, "the topology asks for it"
    kept = wires.keeps(link.name, one, other)
    if kept is not None and not _by_kernel(kept.kind, one, other, wires):
        return kept.kind, kept.why
    if not lacks["vxlan"]:
        return "vxlan", ""
    if not lacks["udp"]:
        return "udp", f"no VXLAN: {lacks['vxlan']}"
    if not _by_kernel("vxlan", one, other, wires):
        return "vxlan", ""  # nothing answers; perhaps pings aren't let through
    if not _by_kernel("udp", one, other, wires):
        return "udp", f"no VXLAN: {lacks['vxlan']}"
    why = f"no way to {other}: VXLAN: {lacks['vxlan']}; UDP: {lacks['udp']}"
    raise PlanError(f"machine {one}", why, hint="otterctl doctor")


def unjoinable(one: str, other: str, by: str, wires: Wires) -> str:
    """Why no link can lead between two machines, before anything is placed there; empty: it can.

    That nothing came back is no reason where the kernels have VXLAN: pings may not be let through.

    Args:
        one: A machine.
        other: Another.
        by: `vxlan` or `udp`, if the topology asks for that; empty: any will do.
        wires: What is known of both.
    """
    one, other = sorted((one, other))
    if by:
        return (_no_vxlan if by == "vxlan" else _no_udp)(one, other, wires)
    vxlan = _by_kernel("vxlan", one, other, wires)
    udp = _by_kernel("udp", one, other, wires)
    return f"no VXLAN: {vxlan}; no UDP: {udp}" if vxlan and udp else ""


def _by_kernel(kind: api.TunnelKind, one: str, other: str, wires: Wires) -> str:
    """Why a kind can't be had on one of two machines, whatever is between them."""
    lacks = wires.no_vxlan if kind == "vxlan" else wires.no_udp
    return "; ".join(f"{name}: {lacks[name]}" for name in (one, other) if lacks.get(name))


def _no_vxlan(one: str, other: str, wires: Wires) -> str:
    if why := _by_kernel("vxlan", one, other, wires):
        return why
    deaf = [(a, b) for a, b in ((one, other), (other, one)) if (a, b) in wires.deaf]
    return "; ".join(f"{a} doesn't reach {b} ({wires.addresses[b]})" for a, b in deaf)


def _no_udp(one: str, other: str, wires: Wires) -> str:
    if why := _by_kernel("udp", one, other, wires):
        return why
    neither = {(one, other), (other, one)} <= wires.deaf
    return f"neither of {one} and {other} reaches the other" if neither else ""


def supposed(wires: Wires, names: Iterable[str], joined: Collection[Pair]) -> Wires:
    """What to go by between machines that no link joins, so that nobody has tried the way.

    One that somebody doesn't reach is behind a NAT: nor do the others reach it.
    """
    tried = {way for one, other in joined for way in ((one, other), (other, one))}
    hidden = {other for _, other in wires.deaf}
    guessed = {(one, other) for one in names for other in hidden - {one}} - tried
    return replace(wires, deaf=wires.deaf | guessed)


def opens(link: str, machine: str, other: str, wires: Wires) -> bool:
    """Whether a machine greets the other first."""
    kept = wires.keeps(link, machine, other)
    if kept is not None and kept.kind == "udp" and (machine, link) in wires.kept_opens:
        return wires.kept_opens[machine, link]
    both = {(machine, other), (other, machine)} <= wires.deaf
    return both or (machine, other) not in wires.deaf


def taken_off(link: api.Link, machine: str, other: str, wires: Wires) -> float:
    """What is taken off a link's delays since the network has it already.

    Raises:
        PlanError: More than is asked for.
    """
    if not link.subtract:
        return 0.0
    found = wires.underlay.get((machine, other))
    if found is None:
        why = f"subtract_underlay: nobody knows what the network from {machine} to {other} takes"
        raise PlanError(f"link {link.name}", why, hint="do they reach each other?")
    took = f"the network from {machine} to {other} alone takes {format_duration(found.delay_s)}"
    for asked in (link.forward, link.reverse):
        if asked is None:
            continue
        delay, jitter = asked.delay_s or 0.0, asked.jitter_s or 0.0
        if delay < found.delay_s:
            why = f"subtract_underlay: asks for {format_duration(delay)}, {took}"
            raise PlanError(f"link {link.name}", why, hint="ask for more, or leave it out")
        if delay - found.delay_s < jitter:
            why = f"subtract_underlay: its jitter is more than what is left of its delay; {took}"
            raise PlanError(f"link {link.name}", why, hint="ask for less jitter, or leave it out")
    return found.delay_s


def too_much(ways: Iterable[tuple[str, LinkSpec, Pair]], wires: Wires) -> Iterable[str]:
    """Where the network between machines can't carry what links ask for: a line each.

    Args:
        ways: Directions between machines: link, what is asked, from which machine to which.
        wires: With what was measured.
    """
    for link, asked, (one, other) in ways:
        found = wires.underlay.get((one, other))
        if found is None:
            continue
        where = f"from machine {one} to {other} ({wires.addresses[other]})"
        if asked.delay_s is not None and 0 < asked.delay_s < found.delay_s:
            took = format_duration(found.delay_s)
            yield f"link {link}: the network {where} alone takes {took} one way"
        carried_bps = found.rate_bps or float("inf")
        if asked.rate_bps is not None and asked.rate_bps > carried_bps:
            wants, carries = format_rate(asked.rate_bps), format_rate(carried_bps)
            yield f"link {link}: asks for {wants}, the network {where} carries {carries}"
