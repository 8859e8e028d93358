"""A mesh <-> its parts, one for each machine. Pure.

                                      ┌─ part of m1: its hosts, modules, links with an end there
    whole MeshSpec ──split()──────────┤      link radio: phone ─ (edge, by a tunnel to m2)
                   ◄─────────join()── └─ part of m2

A direction is made scarce where it is sent; those of a cell all where the cell's host is, as what
shares a medium has to be together. Must not know: SSH, agents, topologies.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from msgspec.structs import replace

from otter_agent import api
from otter_ctl.planning.tunnels import Pair, Wires, chosen, opens, taken_off
from otter_ctl.topology.model import LOCAL

_VNIS = 1 << 24


def split(
    whole: api.MeshSpec, machines: Mapping[str, str], wires: Wires
) -> dict[str, api.MeshSpec]:
    """The part of each machine, by the machines' names.

    Args:
        whole: All of it.
        machines: Host -> machine; all that aren't named are on the first.
        wires: Needed where there are several.

    Raises:
        PlanError: A link has no way from machine to machine, or not as it asks.
    """
    names = sorted(set(machines.values()))
    if names == [LOCAL]:
        return {LOCAL: whole}
    of = {host.name: machines.get(host.name, names[0]) for host in whole.hosts}
    away = {
        name: api.Away(
            machine=name,
            hosts=tuple(h.name for h in whole.hosts if of[h.name] == name),
            modules={m.name: m.host for m in whole.modules if of[m.host] == name},
        )
        for name in names
    }
    crossing = [link for link in whole.links if of[link.a] != of[link.b]]
    vnis = _vnis(whole.name, crossing, wires.kept)
    mtu = min(whole.mtu, wires.mtu - api.TUNNEL_BYTES) if crossing else whole.mtu
    return {
        name: replace(
            whole,
            hosts=tuple(h for h in whole.hosts if of[h.name] == name),
            links=tuple(_links(whole.links, name, of, wires, vnis)),
            cells=tuple(c for c in whole.cells if of[c.host] == name),
            modules=tuple(m for m in whole.modules if of[m.host] == name),
            timeline=_timeline(whole, name, of),
            machine=name,
            away=tuple(other for other in away.values() if other.machine != name),
            mtu=mtu,
        )
        for name in names
    }


def join(parts: Iterable[api.MeshSpec]) -> api.MeshSpec:
    """All of a mesh, of the parts that are known; in the order of the machines' names."""
    ordered = sorted(parts, key=lambda part: part.machine)
    first = ordered[0]
    if not ordered[1:] and not first.away:
        return first
    links: dict[str, api.Link] = {}
    for link in (link for part in ordered for link in part.links):
        plain, other = replace(link, tunnel=None), links.get(link.name)
        if other is not None:
            forward, reverse = other.forward or plain.forward, other.reverse or plain.reverse
            plain = replace(other, forward=forward, reverse=reverse)
        links[link.name] = plain
    return replace(
        first,
        hosts=tuple(host for part in ordered for host in part.hosts),
        links=tuple(links.values()),
        cells=tuple(cell for part in ordered for cell in part.cells),
        modules=tuple(module for part in ordered for module in part.modules),
        timeline=_joined([part.timeline for part in ordered]),
        machine="",
        away=(),
    )


def kept_tunnels(
    parts: Mapping[str, api.MeshSpec], addresses: Mapping[str, str]
) -> dict[str, api.Tunnel]:
    """The tunnels that there are, by their links' names; each machine tells of its own alone."""
    return {
        link.name: link.tunnel
        for name, part in parts.items()
        for link in part.links
        if link.tunnel is not None and link.tunnel.local == addresses.get(name)
    }


def kept_opens(parts: Mapping[str, api.MeshSpec]) -> dict[tuple[str, str], bool]:
    """Machine and link -> whether it greets first, of links over UDP."""
    return {
        (name, link.name): link.tunnel.opens
        for name, part in parts.items()
        for link in part.links
        if link.tunnel is not None and link.tunnel.kind == "udp"
    }


def kept_underlay(
    parts: Mapping[str, api.MeshSpec], addresses: Mapping[str, str]
) -> dict[Pair, api.Underlay]:
    """What was measured between the machines, as their parts tell."""
    names = {address: name for name, address in addresses.items()}
    return {
        (name, names[link.tunnel.remote]): link.tunnel.underlay
        for name, part in parts.items()
        for link in part.links
        if link.tunnel is not None
        and link.tunnel.underlay is not None
        and link.tunnel.local == addresses.get(name)
        and link.tunnel.remote in names
    }


def shaper(link: api.Link, of: Mapping[str, str], *, forward: bool) -> str:
    """The machine that makes a direction of a link scarce."""
    shared = any(s is not None and s.medium is not None for s in (link.forward, link.reverse))
    return of[link.b] if shared else of[link.a if forward else link.b]


def _links(
    links: Sequence[api.Link],
    machine: str,
    of: Mapping[str, str],
    wires: Wires,
    vnis: Mapping[str, int],
) -> Iterable[api.Link]:
    """Raises `PlanError`: a link has no way to the other machine."""
    for link in links:
        here = [end for end in (link.a, link.b) if of[end] == machine]
        if len(here) == 2:
            yield link
        elif here:
            there = link.b if here[0] == link.a else link.a
            forward = link.forward if shaper(link, of, forward=True) == machine else None
            reverse = link.reverse if shaper(link, of, forward=False) == machine else None
            tunnel = _tunnel(link, there, (machine, of[there]), wires, vnis[link.name])
            yield replace(link, forward=forward, reverse=reverse, tunnel=tunnel)


def _tunnel(link: api.Link, there: str, way: Pair, wires: Wires, vni: int) -> api.Tunnel:
    """One end of a link that leads from one machine to another."""
    here, other = way
    ends = wires.addresses[here], wires.addresses[other]
    kind, why = chosen(link, *way, wires)
    common: dict[str, Any] = {
        "host": there,
        "local": ends[0],
        "remote": ends[1],
        "vni": vni,
        "key": _key(link.name, way, wires),
        "kind": kind,
        "why": why,
        "underlay": wires.underlay.get(way),
        "less_s": taken_off(link, *way, wires),
    }
    if kind == "vxlan":
        return api.Tunnel(**common)
    port, remote = (wires.ports.get(name, api.UDP_PORT) for name in way)
    return api.Tunnel(**common, port=port, remote_port=remote, opens=opens(link.name, *way, wires))


def _key(link: str, way: Pair, wires: Wires) -> str:
    """Only the two machines of a link know its key: not the mesh's others, nor former ones."""
    kept = wires.keeps(link, *way)
    if kept is not None:
        return kept.key
    return hashlib.blake2b(link.encode(), key=wires.key.encode(), digest_size=16).hexdigest()


def _vnis(mesh: str, links: Iterable[api.Link], kept: Mapping[str, api.Tunnel]) -> dict[str, int]:
    """A number for each link, spread over all there are: other meshes know nothing of this one."""
    found = {link.name: kept[link.name].vni for link in links if link.name in kept}
    taken = set(found.values())
    for link in links:
        if link.name in found:
            continue
        digest = hashlib.blake2b(f"{mesh}\0{link.name}".encode(), digest_size=4).digest()
        number = int.from_bytes(digest, "big") % (_VNIS - 1) + 1
        while number in taken:
            number = number % (_VNIS - 1) + 1
        found[link.name] = number
        taken.add(number)
    return found


def _timeline(whole: api.MeshSpec, machine: str, of: Mapping[str, str]) -> api.TimelineSpec:
    """What of it concerns directions that are made scarce here, and hosts that are here."""
    ways: set[tuple[str, str]] = set()
    for link in whole.links:
        for way, asked in (("forward", link.forward), ("reverse", link.reverse)):
            if asked is not None and shaper(link, of, forward=way == "forward") == machine:
                ways.add((link.name, way))
    seats = {m.name: of[m.host] for m in whole.modules}
    events = [_event(event, machine, ways, of, seats) for event in whole.timeline.events]
    return replace(
        whole.timeline,
        traces=tuple(t for t in whole.timeline.traces if (t.link, t.way) in ways),
        events=tuple(event for event in events if event is not None),
        moves=tuple(m for m in whole.timeline.moves if of[m.host] == machine),
    )


def _event(
    event: api.TimelineEvent,
    machine: str,
    ways: set[tuple[str, str]],
    of: Mapping[str, str],
    seats: Mapping[str, str],
) -> api.TimelineEvent | None:
    any_way = {link for link, _ in ways}
    mine = replace(
        event,
        both=tuple(name for name in event.both if name in any_way),
        forward=tuple(name for name in event.forward if (name, "forward") in ways),
        reverse=tuple(name for name in event.reverse if (name, "reverse") in ways),
        hosts=tuple(host for host in event.hosts if of.get(host) == machine),
        modules=tuple(module for module in event.modules if seats.get(module) == machine),
    )
    some = mine.both or mine.forward or mine.reverse or mine.hosts or mine.modules
    return mine if some else None


def _joined(timelines: Sequence[api.TimelineSpec]) -> api.TimelineSpec:
    """Events that stand in several parts, each with its own links, are one again."""
    events: dict[bytes, api.TimelineEvent] = {}
    for event in (event for timeline in timelines for event in timeline.events):
        bare = replace(event, both=(), forward=(), reverse=(), hosts=(), modules=())
        key = api.encode(bare)
        other = events.get(key, bare)
        events[key] = replace(
            event,
            both=_union(other.both, event.both),
            forward=_union(other.forward, event.forward),
            reverse=_union(other.reverse, event.reverse),
            hosts=_union(other.hosts, event.hosts),
            modules=_union(other.modules, event.modules),
        )
    return api.TimelineSpec(
        traces=tuple(trace for timeline in timelines for trace in timeline.traces),
        events=tuple(sorted(events.values(), key=lambda e: (e.at_s, e.text))),
        moves=tuple(move for timeline in timelines for move in timeline.moves),
    )


def _union(one: tuple[str, ...], other: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(sorted({*one, *other}))
