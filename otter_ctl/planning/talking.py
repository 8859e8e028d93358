"""Which machines of a mesh have something to tell each other while it runs. Pure.

All compare their clocks with one; those that a stream joins have to know how sure the other is of
its own; what a condition looks at may be elsewhere than what then changes; and where routes follow
links, all have to know which are down. Must not know: how they talk.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from net.conditions import Condition
from otter_agent import api


def pair(one: str, other: str) -> str:
    """Two machines, as links are named; no link is called so."""
    return "\0".join(("", *sorted((one, other))))


def neighbours(names: Iterable[str]) -> dict[str, list[str]]:
    """Machine -> those that it talks to, of pairs."""
    found: dict[str, list[str]] = {}
    for name in names:
        _, one, other = name.split("\0")
        found.setdefault(one, []).append(other)
        found.setdefault(other, []).append(one)
    return found


def pairs(whole: api.MeshSpec, of: Mapping[str, str], clock: str) -> dict[str, bool]:
    """Those that talk, and whether they have to: something wouldn't happen otherwise.

    Args:
        whole: All of the mesh.
        of: Host -> machine.
        clock: The machine whose clock is the mesh's; empty: there is only one.
    """
    if not clock:
        return {}
    found = {(clock, machine) for machine in of.values()}
    seats = {module.name: of[module.host] for module in whole.modules}
    for module in whole.modules:
        found.update((seats[module.name], seats[end.peer]) for end in module.streams_in)
    must: set[tuple[str, str]] = set()
    if whole.routing == "shortest":
        machines = {*of.values()}
        must.update((one, other) for one in machines for other in machines)
    for event in whole.timeline.events:
        if event.when is not None:
            seen = seer(whole, of, event.when)
            must.update((seen, there) for there in affected(whole, of, event))
    needed = {pair(one, other) for one, other in must if one != other}
    known = {pair(one, other) for one, other in found if one != other}
    return {name: name in needed for name in sorted(known | needed)}


def seer(whole: api.MeshSpec, of: Mapping[str, str], when: Condition) -> str:
    """The machine that can tell what a condition asks: as `api.sees` has it."""
    if when.kind == "module":
        return next(of[module.host] for module in whole.modules if module.name == when.name)
    if when.kind == "host":
        return of[when.name]
    if when.kind == "stream":
        return next(
            of[module.host]
            for module in whole.modules
            if any(end.stream == when.name for end in module.streams_in)
        )
    link = next(link for link in whole.links if link.name == when.name)
    return next(iter(seers(link, of, when.direction)))


def seers(link: api.Link, of: Mapping[str, str], direction: str) -> dict[str, None]:
    """The machines that make a direction (empty: any) of a link scarce."""
    ways = ((f"{link.a}>{link.b}", link.forward, True), (f"{link.b}>{link.a}", link.reverse, False))
    return {
        shaper(link, of, forward=forward): None
        for name, asked, forward in ways
        if asked is not None and direction in ("", name)
    }


def affected(whole: api.MeshSpec, of: Mapping[str, str], event: api.TimelineEvent) -> Iterator[str]:
    """The machines on which something of an event happens."""
    seats = {module.name: of[module.host] for module in whole.modules}
    links = {link.name: link for link in whole.links}
    for name in (*event.both, *event.forward):
        yield shaper(links[name], of, forward=True)
    for name in (*event.both, *event.reverse):
        yield shaper(links[name], of, forward=False)
    yield from (of[host] for host in event.hosts)
    yield from (seats[module] for module in event.modules)


def shaper(link: api.Link, of: Mapping[str, str], *, forward: bool) -> str:
    """The machine that makes a direction of a link scarce."""
    shared = any(s is not None and s.medium is not None for s in (link.forward, link.reverse))
    return of[link.b] if shared else of[link.a if forward else link.b]
