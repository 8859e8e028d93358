"""`[cells.NAME]` -> `Cell`s, and the links of their members.

    cell gnb1, host edge, members a, b     ─►   links gnb1-a, gnb1-b: a, b ↔ edge
    uplink, half_duplex                    ─►   medium "gnb1:up", … of all ways there
    uplink × efficiency                    ─►   rate of a member's way there

Must not know: TOML, positions, how a medium is shared.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from net.links.spec import LinkSpec
from otter_ctl.topology.globs import Names, is_glob
from otter_ctl.topology.model import LINKS_LIMIT, Cell, Expansion, Link, Member, TraceUse
from otter_ctl.topology.names import short
from otter_ctl.topology.profiles import Way, check_profile, over_profile
from otter_ctl.topology.properties import key_of, that_make_sense, values_of
from otter_ctl.topology.reader import Fields, shown
from otter_ctl.topology.traces import Traces

_ONE = 1e6
"""What is an efficiency of 1 in a trace of rates."""
_CAPACITY: Mapping[Way, tuple[str, str]] = {
    "up": ("uplink", "downlink"),
    "down": ("downlink", "uplink"),
}


def read_cells(
    written: Mapping[str, Fields],
    hosts: Names | None,
    links: Sequence[Link],
    expansion: list[Expansion],
    visits: Mapping[str, Sequence[str]],
    traces: Traces,
) -> tuple[tuple[Cell, ...], tuple[Link, ...]]:
    """All sound cells, and the links of all their members.

    Args:
        written: As read.
        hosts: None: they couldn't be read, so nothing is looked up.
        links: What there is beside: no two links have one name.
        expansion: What globs stand for is noted there.
        visits: Cell -> hosts that come there later.
        traces: Reads those of efficiencies.
    """
    cells: list[Cell] = []
    made: dict[str, Link] = {}
    taken = {link.name for link in links}
    for name, own in written.items():
        check_profile(own, "links")
        specs = {way: _spec(name, own, way) for way in _CAPACITY}
        found = _members(name, own, hosts)
        if not found or None in specs.values():
            continue
        varying = _traced(own, traces)
        guests = [x for x in visits.get(name, ()) if x not in found and x != own["host"]]
        members = tuple(_weighed(name, own, [*found, *guests], hosts, frozenset(guests)))
        new = _links(own, members, specs, taken | made.keys())
        if new is None or len(taken) + len(made) + len(new) > LINKS_LIMIT:
            if new is not None:
                own.place.report(f"makes more than {LINKS_LIMIT} links")
            continue
        made |= {link: _varying(one, varying, hosts, traces, specs) for link, one in new.items()}
        if any(map(is_glob, own["members"])):
            names = tuple(member.link for member in members)
            rule = "a link per member"
            expansion.append(
                Expansion(subject="cells", written=short(name), rule=rule, names=names)
            )
        cells.append(_cell(name, own, members, specs))
    return tuple(cells), tuple(made.values())


def _cell(
    name: str, own: Fields, members: tuple[Member, ...], specs: Mapping[Way, LinkSpec | None]
) -> Cell:
    up, down = specs["up"], specs["down"]
    assert up is not None
    assert up.rate_bps
    assert down is not None
    assert down.rate_bps
    return Cell(
        name=name,
        host=own["host"],
        members=members,
        uplink_bps=up.rate_bps,
        downlink_bps=down.rate_bps,
        half_duplex=own.get("half_duplex", False),
    )


# --- members --------------------------------------------------------------------------------------


def _members(cell: str, own: Fields, hosts: Names | None) -> list[str]:
    """Names of those that share it, each once, in the order of the file; none after reporting."""
    if hosts is None or "members" not in own or "host" not in own:
        return []
    middle = hosts.find(own["host"], own.place.child("host"))
    found: dict[str, None] = {}
    named: set[str] = set()
    sound = bool(middle)
    for number, word in enumerate(own["members"]):
        place = own.place.child("members", number)
        names = hosts.find(word, place)
        if word in named:
            place.report(f"{shown(word)} is a member already")
        elif word == own["host"]:
            place.report("is the cell's own host", "members are the others")
        sound = sound and bool(names) and word not in named and word != own["host"]
        named.add(word)
        found |= dict.fromkeys(name for name in names if name != own["host"])
    if sound and not found:
        own.place.child("members").report("there are none but the cell's own host")
    return list(found) if sound else []


def _weighed(
    cell: str, own: Fields, names: list[str], hosts: Names | None, guests: frozenset[str]
) -> list[Member]:
    """With weights and efficiencies; the last word that matches a member counts."""
    if own.get("share") == "equal" and "weights" in own.given:
        own.place.child("weights").report('goes not together with share = "equal"')
    if own.get("share") == "weights" and "weights" not in own.given:
        own.place.child("share").report("needs `weights`", 'such as weights = { "phone" = 2 }')
    values: dict[str, dict[str, float]] = {}
    for key in ("weights", "efficiency"):
        values[key] = {}
        for word, number in own.get(key, {}).items():
            place = own.place.child(key, word)
            matching = hosts.find(word, place) if hosts is not None else ()
            if matching and not set(matching) & set(names):
                place.report(f"{shown(word)} is no member of the cell")
            number = 1.0 if isinstance(number, Fields) else number  # a trace: once it is played
            values[key] |= dict.fromkeys(matching, number)
    return [
        Member(
            host=name,
            link=f"{cell}-{name}",
            weight=values["weights"].get(name, 1.0),
            efficiency=values["efficiency"].get(name, 1.0),
            visits=name in guests,
        )
        for name in names
    ]


# --- efficiency over time -------------------------------------------------------------------------


def _traced(own: Fields, traces: Traces) -> dict[str, TraceUse | None]:
    """Member or glob -> the trace of its efficiency; None: it is a number, or was reported."""
    return {
        word: traces.efficiency(value) if isinstance(value, Fields) else None
        for word, value in own.get("efficiency", {}).items()
    }


def _varying(
    link: Link,
    varying: Mapping[str, TraceUse | None],
    hosts: Names | None,
    traces: Traces,
    specs: Mapping[Way, LinkSpec | None],
) -> Link:
    """The link with the trace of its member, if it has one; the last word that matches counts."""
    use = None
    for word, one in varying.items():
        if hosts is not None and link.a in hosts.match(word):
            use = one
    if use is None:
        return link
    use = traces.drawn(use, link.name)
    return replace(
        link,
        forward_trace=_times(use, specs["up"]),
        reverse_trace=_times(use, specs["down"]),
    )


def _times(use: TraceUse | None, spec: LinkSpec | None) -> TraceUse | None:
    """A trace of efficiencies as one of rates, at a capacity."""
    if use is None or spec is None or spec.rate_bps is None:
        return None
    factor = use.manner.scale.get("rate_bps", 1.0) * spec.rate_bps / _ONE
    return replace(use, manner=replace(use.manner, scale={**use.manner.scale, "rate_bps": factor}))


# --- links ----------------------------------------------------------------------------------------


def _spec(cell: str, own: Fields, way: Way) -> LinkSpec | None:
    """What all members' links have that way, at an efficiency of 1; None after reporting."""
    merged = over_profile(own, "links", way)
    assert merged is not None
    if own.given - own.values.keys():
        return None  # reported
    values: dict[str, Any] = values_of(that_make_sense(merged, own))
    key, other = _CAPACITY[way]
    half = own.get("half_duplex", False)
    if key in own:
        values["rate_bps"] = own[key]
    elif half and other in own:
        values["rate_bps"] = own[other]
    elif "rate_bps" not in values:
        hint = f'a cell has a capacity: {key} = "50mbit"'
        own.place.report(f"missing key `{key}`", hint)
        return None
    spec = LinkSpec(**values, medium=cell if half else f"{cell}:{way}")
    problems = spec.problems()
    for field, reason in problems.items():
        name = key if field == "rate_bps" else key_of(field)
        if name in own.given:
            own.place.child(name).report(reason)
        else:
            own.place.report(f"`{name}` {reason}", "it comes from the profile")
    return None if problems else spec


def _links(
    own: Fields,
    members: Sequence[Member],
    specs: Mapping[Way, LinkSpec | None],
    taken: set[str],
) -> dict[str, Link] | None:
    """A link per member; None after reporting."""
    made = {}
    for member in members:
        if member.link in taken:
            hint = "give the cell, or that link, another name"
            own.place.report(f"there are two links called {shown(member.link)}", hint)
            return None
        made[member.link] = Link(
            name=member.link,
            a=member.host,
            b=own["host"],
            forward=_of_member(specs["up"], member),
            reverse=_of_member(specs["down"], member),
        )
    return made


def _of_member(spec: LinkSpec | None, member: Member) -> LinkSpec:
    assert spec is not None
    assert spec.rate_bps is not None
    weight = None if member.weight == 1 else member.weight
    spec = replace(spec, rate_bps=spec.rate_bps * member.efficiency, medium_weight=weight)
    return replace(spec, up=False) if member.visits else spec
