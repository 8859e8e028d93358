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

from net.links.spec import LinkSpec
from otter_agent import api
from otter_ctl.errors import PlanError
from otter_ctl.planning import talking
from otter_ctl.planning.talking import shaper
from otter_ctl.planning.tunnels import Pair, Wires, chosen, opens, supposed, taken_off
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
    listed = listing(whole, machines)
    crossing = [link for link in whole.links if of[link.a] != of[link.b]]
    clock = "" if not names[1:] else wires.clock if wires.clock in names else names[0]
    talks = talking.pairs(whole, of, clock)
    vnis = _vnis(whole.name, [*(link.name for link in crossing), *talks], wires.kept)
    mtu = min(whole.mtu, wires.mtu - api.TUNNEL_BYTES) if crossing else whole.mtu
    hosts = _by_machine(whole.hosts, lambda host: (of[host.name],))
    links = _by_machine(whole.links, lambda link: dict.fromkeys((of[link.a], of[link.b])))
    cells = _by_machine(whole.cells, lambda cell: (of[cell.host],))
    modules = _by_machine(whole.modules, lambda module: (of[module.host],))
    parts = {
        name: replace(
            whole,
            hosts=tuple(hosts[name]),
            links=tuple(_links(links[name], name, of, wires, vnis)),
            cells=tuple(cells[name]),
            modules=tuple(modules[name]),
            machine=name,
            names={} if listed else whole.names,
            directory=api.digest(listed) if listed else "",
            clock=clock,
            beyond=tuple(_beyond(whole, of, name)) if whole.routing == "shortest" else (),
            mtu=mtu,
        )
        for name in names
    }
    away, timelines = _aways(whole, of, names), _timelines(whole, parts, of)
    near = talking.neighbours(talks)
    over = {talking.pair(of[x.a], of[x.b]): x.over for x in reversed(crossing) if x.over}
    guessed = supposed(wires, names, {(of[x.a], of[x.b]) for x in crossing})
    for name, part in parts.items():
        others = near.get(name, []) if listed else [other for other in names if other != name]
        known = (
            replace(away[other], talk=_talk(name, other, talks, over, guessed, vnis))
            for other in others
        )
        parts[name] = replace(part, timeline=timelines[name], away=tuple(known))
    return parts


def _beyond(whole: api.MeshSpec, of: Mapping[str, str], machine: str) -> Iterable[api.Link]:
    """Links that aren't wholly on a machine, as far as ways over them are concerned."""
    for link in whole.links:
        if not of[link.a] == of[link.b] == machine:
            forward, reverse = (
                None if way is None else LinkSpec(delay_s=way.delay_s, up=way.up)
                for way in (link.forward, link.reverse)
            )
            yield api.Link(name=link.name, a=link.a, b=link.b, forward=forward, reverse=reverse)


def _talk(
    machine: str,
    other: str,
    talks: Mapping[str, bool],
    over: Mapping[str, api.TunnelKind],
    wires: Wires,
    vnis: Mapping[str, int],
) -> api.Tunnel | None:
    """How two machines' agents talk; None: they have nothing to say, or could do without.

    As links between the two are asked to be: there may be no other way through.
    """
    name = talking.pair(machine, other)
    if name not in talks:
        return None
    one, two = sorted((machine, other))
    try:
        link = api.Link(name=name, a=one, b=two, over=over.get(name))
        made = _tunnel(link, other, (machine, other), wires, vnis[name])
    except PlanError:
        if talks[name]:
            raise
        return None  # their clocks aren't compared, and records of messages say so
    return replace(made, underlay=None)


def listing(whole: api.MeshSpec, machines: Mapping[str, str]) -> bytes:
    """The directory of a mesh on many machines, an upload; empty: it needs none.

    What every part would say of all others grows by the square of them.
    """
    names = sorted(set(machines.values()))
    if len(names) <= FEW or _routed(whole):
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
    found = {
        name: api.Away(machine=name, hosts=tuple(hosts[name]), modules=modules[name])
        for name in names
    }
    if not _routed(whole):
        return found
    by_name = {host.name: host for host in whole.hosts}
    return {
        name: replace(
            away,
            blocks={host: by_name[host].block for host in away.hosts},
            gateways=tuple(host for host in away.hosts if by_name[host].gateway),
        )
        for name, away in found.items()
    }


def _routed(whole: api.MeshSpec) -> bool:
    """Whether machines work routes out: then each has to know all hosts."""
    return whole.routing == "shortest" or bool(whole.timeline.moves)


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
        clock="",
        beyond=(),
    )


def kept_tunnels(
    parts: Mapping[str, api.MeshSpec], addresses: Mapping[str, str]
) -> dict[str, api.Tunnel]:
    """The tunnels that there are, by their links' names; each machine tells of its own alone."""
    found = {
        link.name: link.tunnel
        for name, part in parts.items()
        for link in part.links
        if link.tunnel is not None and link.tunnel.local == addresses.get(name)
    }
    return found | {
        talking.pair(name, other.machine): other.talk
        for name, part in parts.items()
        for other in part.away
        if other.talk is not None and other.talk.local == addresses.get(name)
    }


def kept_opens(parts: Mapping[str, api.MeshSpec]) -> dict[tuple[str, str], bool]:
    """Machine and link, or pair of machines -> whether it greets first, of those over UDP."""
    found = {
        (name, link.name): link.tunnel.opens
        for name, part in parts.items()
        for link in part.links
        if link.tunnel is not None and link.tunnel.kind == "udp"
    }
    return found | {
        (name, talking.pair(name, other.machine)): other.talk.opens
        for name, part in parts.items()
        for other in part.away
        if other.talk is not None and other.talk.kind == "udp"
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


def kept_clock(parts: Mapping[str, api.MeshSpec]) -> str:
    """The machine whose clock is the mesh's now: of one on one machine, that one; empty: none."""
    return next((part.clock or name for name, part in sorted(parts.items())), "")


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


def _vnis(mesh: str, names: Sequence[str], kept: Mapping[str, api.Tunnel]) -> dict[str, int]:
    """A number for each tunnel, spread over all there are: other meshes don't know this one."""
    found = {name: kept[name].vni for name in names if name in kept}
    taken = set(found.values())
    for name in names:
        if name in found:
            continue
        digest = hashlib.blake2b(f"{mesh}\0{name}".encode(), digest_size=4).digest()
        number = int.from_bytes(digest, "big") % (_VNIS - 1) + 1
        while number in taken:
            number = number % (_VNIS - 1) + 1
        found[name] = number
        taken.add(number)
    return found


def _timelines(
    whole: api.MeshSpec, parts: Mapping[str, api.MeshSpec], of: Mapping[str, str]
) -> dict[str, api.TimelineSpec]:
    """Each machine's part of it. Of hosts that move all know: any may have ways to there."""
    if not (whole.timeline.traces or whole.timeline.events or whole.timeline.moves):
        return dict.fromkeys(parts, whole.timeline)
    middles = {link.name: link.b for link in whole.links} if len(parts) > 1 else {}
    moves = tuple(replace(m, middle=middles.get(m.link, "")) for m in whole.timeline.moves)
    ways: dict[str, set[tuple[str, str]]] = {name: set() for name in parts}
    for link in whole.links:
        for way, asked in (("forward", link.forward), ("reverse", link.reverse)):
            if asked is not None:
                ways[shaper(link, of, forward=way == "forward")].add((link.name, way))
    seats = {m.name: of[m.host] for m in whole.modules}
    return {
        name: replace(_timeline(whole, part, of, ways[name], seats), moves=moves)
        for name, part in parts.items()
    }


def _timeline(
    whole: api.MeshSpec,
    part: api.MeshSpec,
    of: Mapping[str, str],
    ways: set[tuple[str, str]],
    seats: Mapping[str, str],
) -> api.TimelineSpec:
    """What of it concerns directions that are made scarce here, and hosts that are here."""
    events = [_event(event, part, ways, of, seats) for event in whole.timeline.events]

    def plays(use: api.TraceUse) -> bool:
        if use.host or use.module:
            return (of.get(use.host) if use.host else seats.get(use.module)) == part.machine
        return (use.link, use.way) in ways

    return replace(
        whole.timeline,
        traces=tuple(filter(plays, whole.timeline.traces)),
        events=tuple(event for event in events if event is not None),
    )


def _event(
    event: api.TimelineEvent,
    part: api.MeshSpec,
    ways: set[tuple[str, str]],
    of: Mapping[str, str],
    seats: Mapping[str, str],
) -> api.TimelineEvent | None:
    machine, any_way = part.machine, {link for link, _ in ways}
    mine = replace(
        event,
        both=tuple(name for name in event.both if name in any_way),
        forward=tuple(name for name in event.forward if (name, "forward") in ways),
        reverse=tuple(name for name in event.reverse if (name, "reverse") in ways),
        hosts=tuple(host for host in event.hosts if of.get(host) == machine),
        modules=tuple(module for module in event.modules if seats.get(module) == machine),
    )
    looked_at = event.when is not None and api.sees(part, event.when)
    return mine if mine.targets or looked_at else None


def _joined(timelines: Sequence[api.TimelineSpec]) -> api.TimelineSpec:
    """Events that stand in several parts, each with its own links, are one again."""
    events: dict[str, api.TimelineEvent] = {}
    for event in (event for timeline in timelines for event in timeline.events):
        key, other = event.key, events.get(event.key, event.bare())
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
        moves=tuple(replace(move, middle="") for move in timelines[0].moves),
    )


def _union(one: tuple[str, ...], other: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(sorted({*one, *other}))
