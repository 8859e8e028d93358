"""A mesh <-> its parts, one for each machine. Pure.

                                      ┌─ part of m1: its hosts, modules, links with an end there
    whole MeshSpec ──split()──────────┤      link radio: phone ─ (edge, by a tunnel to m2)
                   ◄─────────join()── └─ part of m2

A direction is made scarce where it is sent; those of a cell all where the cell's host is, as what
shares a medium has to be together. Must not know: SSH, agents, topologies.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

from msgspec.structs import replace

from otter_agent import api
from otter_ctl.planning.tunnels import Pair, Wires, chosen, opens, taken_off
from otter_ctl.topology.model import LOCAL

T = TypeVar("T")
_VNIS = 1 << 24
FEW = 16
"""Machines whose parts name all others, and all names; of more a directory does, see `listing`."""


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
    of = _seats(whole, machines, names)
    away = _aways(whole, of, names)
    listed = listing(whole, machines)
    crossing = [link for link in whole.links if of[link.a] != of[link.b]]
    vnis = _vnis(whole.name, crossing, wires.kept)
    mtu = min(whole.mtu, wires.mtu - api.TUNNEL_BYTES) if crossing else whole.mtu
    hosts = _by_machine(whole.hosts, lambda host: (of[host.name],))
    links = _by_machine(whole.links, lambda link: dict.fromkeys((of[link.a], of[link.b])))
    cells = _by_machine(whole.cells, lambda cell: (of[cell.host],))
    modules = _by_machine(whole.modules, lambda module: (of[module.host],))
    timelines = _timelines(whole, names, of)
    return {
        name: replace(
            whole,
            hosts=tuple(hosts[name]),
            links=tuple(_links(links[name], name, of, wires, vnis)),
            cells=tuple(cells[name]),
            modules=tuple(modules[name]),
            timeline=timelines[name],
            machine=name,
            names={} if listed else whole.names,
            away=() if listed else tuple(a for a in away.values() if a.machine != name),
            directory=api.digest(listed) if listed else "",
            mtu=mtu,
        )
        for name in names
    }


def listing(whole: api.MeshSpec, machines: Mapping[str, str]) -> bytes:
    """The directory of a mesh on many machines, an upload; empty: it needs none.

    What every part would say of all others grows by the square of them.
    """
    names = sorted(set(machines.values()))
    if len(names) <= FEW:
        return b""
    away = _aways(whole, _seats(whole, machines, names), names)
    return api.encode(api.Directory(names=whole.names, machines=tuple(away.values())))


def _seats(
    whole: api.MeshSpec, machines: Mapping[str, str], names: Sequence[str]
) -> dict[str, str]:
    return {host.name: machines.get(host.name, names[0]) for host in whole.hosts}


def _aways(whole: api.MeshSpec, of: Mapping[str, str], names: Sequence[str]) -> dict[str, api.Away]:
    hosts: dict[str, list[str]] = {name: [] for name in names}
    modules: dict[str, dict[str, str]] = {name: {} for name in names}
    for host in whole.hosts:
        hosts[of[host.name]].append(host.name)
    for module in whole.modules:
        modules[of[module.host]][module.name] = module.host
    return {
        name: api.Away(machine=name, hosts=tuple(hosts[name]), modules=modules[name])
        for name in names
    }


def _by_machine(items: Iterable[T], where: Callable[[T], Iterable[str]]) -> dict[str, list[T]]:
    """Items by the machines that they concern, in their order: one look at each."""
    found: dict[str, list[T]] = defaultdict(list)
    for item in items:
        for name in where(item):
            found[name].append(item)
    return found


def join(parts: Iterable[api.MeshSpec], names: Mapping[str, str] | None = None) -> api.MeshSpec:
    """All of a mesh, of the parts that are known; in the order of the machines' names.

    Args:
        parts: At least one.
        names: Those of the directory, where parts have one.
    """
    ordered = sorted(parts, key=lambda part: part.machine)
    first = ordered[0]
    if not ordered[1:] and first.is_whole:
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
        names=first.names or dict(names or {}),
        away=(),
        directory="",
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


def _timelines(
    whole: api.MeshSpec, names: Sequence[str], of: Mapping[str, str]
) -> dict[str, api.TimelineSpec]:
    """Each machine's part of it."""
    if not (whole.timeline.traces or whole.timeline.events or whole.timeline.moves):
        return dict.fromkeys(names, whole.timeline)
    ways: dict[str, set[tuple[str, str]]] = {name: set() for name in names}
    for link in whole.links:
        for way, asked in (("forward", link.forward), ("reverse", link.reverse)):
            if asked is not None:
                ways[shaper(link, of, forward=way == "forward")].add((link.name, way))
    seats = {m.name: of[m.host] for m in whole.modules}
    return {name: _timeline(whole, name, of, ways[name], seats) for name in names}


def _timeline(
    whole: api.MeshSpec,
    machine: str,
    of: Mapping[str, str],
    ways: set[tuple[str, str]],
    seats: Mapping[str, str],
) -> api.TimelineSpec:
    """What of it concerns directions that are made scarce here, and hosts that are here."""
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
