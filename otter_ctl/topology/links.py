"""`[[links]]` -> `Link`s: ends, globs, names, defaults, and what differs backwards.

Must not know: TOML, positions, modules.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Any

from net.links.spec import LinkSpec
from otter_ctl.topology.globs import End, Names, is_glob, join
from otter_ctl.topology.model import LINKS_LIMIT, Expansion, Link
from otter_ctl.topology.names import short
from otter_ctl.topology.profiles import Way, check_profile, over_profile
from otter_ctl.topology.properties import key_of, nearer, that_make_sense, values_of
from otter_ctl.topology.reader import Fields, shown
from otter_ctl.topology.traces import Traces


def read_links(
    written: Sequence[Fields],
    defaults: Fields | None,
    hosts: Names | None,
    expansion: list[Expansion],
    traces: Traces,
) -> tuple[Link, ...]:
    """All sound links; `hosts` None: they couldn't be read, so ends aren't looked up."""
    links: dict[str, Link] = {}
    check_profile(defaults, "links")
    below: dict[Way, Fields | None] = {
        "up": over_profile(defaults, "links", "up"),
        "down": over_profile(defaults, "links", "down"),
    }
    for own in written:
        ends = _ends(own)
        check_profile(own, "links")
        merged = _merged(own, below, "up")
        forward = _spec(own, merged)
        reverse = None
        if "between" in own.given:
            reverse = _reverse(own, _merged(own, below, "down"), forward)
        played = traces.of(own, merged)
        between = _between_machines(merged)
        if ends is None or ("name" in own.given and "name" not in own):
            continue
        made = _add(own, ends, forward, reverse, hosts, links, expansion)
        for name in made if between else ():
            links[name] = replace(links[name], **between)
        for name in made if any(played) else ():
            forward_trace, reverse_trace = (traces.drawn(trace, name) for trace in played)
            links[name] = replace(
                links[name],
                forward_trace=forward_trace,
                reverse_trace=None if reverse is None else reverse_trace,
            )
    return tuple(links.values())


def _between_machines(merged: Fields) -> dict[str, Any]:
    """What is asked of the way from machine to machine, if anything is."""
    kind = merged.get("tunnel")
    asked = {} if kind in (None, "auto") else {"tunnel": kind}
    return asked | ({"subtract": True} if merged.get("subtract_underlay") else {})


def _merged(own: Fields, below: dict[Way, Fields | None], way: Way) -> Fields:
    """Own keys, own profile, defaults, their profile: what is nearer wins."""
    upon = over_profile(own, "links", way)
    assert upon is not None
    return nearer(upon, below[way])


def _ends(own: Fields) -> tuple[End, End] | None:
    """The two ends, or None after reporting."""
    one_way = own.given & {"from", "to"}
    if "between" in own.given:
        for key in sorted(one_way):
            own.place.child(key).report("goes not together with `between`")
        if "between" not in own:
            return None
        a, b = own["between"]
        place = own.place
        return End(a, place.child("between", 0)), End(b, place.child("between", 1))
    if not one_way:
        hint = 'write between = ["a", "b"], or `from` and `to` for one direction'
        own.place.report("missing key `between`", hint)
        return None
    for key in sorted({"from", "to"} - one_way):
        own.place.report(f"missing key `{key}`", "a link has two ends")
    if "reverse" in own.given:
        hint = "write `between` instead of `from` and `to`"
        own.place.child("reverse").report("this link carries one way only", hint)
    if "from" not in own or "to" not in own:
        return None
    return End(own["from"], own.place.child("from")), End(own["to"], own.place.child("to"))


def _add(
    own: Fields,
    ends: tuple[End, End],
    forward: LinkSpec,
    reverse: LinkSpec | None,
    hosts: Names | None,
    links: dict[str, Link],
    expansion: list[Expansion],
) -> list[str]:
    """The link of a table, or all that its globs make; returns their names."""
    globs = [is_glob(end.word) for end in ends]
    if any(globs) and hosts is None:
        return []
    both_ways, limit = "between" in own.given, LINKS_LIMIT - len(links)
    pairs, rule = join(ends, hosts, own.get("pair"), own.place, both_ways=both_ways, limit=limit)
    name = own.get("name")
    if not any(globs) and "pair" in own.given:
        own.place.child("pair").report("goes only with globs")
    made_from = (name or f"{ends[0].word}-{ends[1].word}") if any(globs) else ""
    made: list[str] = []
    for a, b in pairs:
        if a == b:
            ends[1].place.report(f"joins host {shown(a)} with itself")
            return made
        if len(links) >= LINKS_LIMIT:
            own.place.report(f"makes more than {LINKS_LIMIT} links")
            return made
        if name is None or not made_from:
            called = name or f"{a}-{b}"
        else:
            varying = (end for end, several in zip((a, b), globs, strict=True) if several)
            called = "-".join((name, *varying))
        if called in links:
            what = "makes two links" if made_from else "there are two links"
            own.place.report(f"{what} called {shown(called)}", "give this one another `name`")
            return made
        links[called] = Link(
            name=called, a=a, b=b, forward=forward, reverse=reverse, made_from=made_from
        )
        made.append(called)
    if made_from and made:
        expansion.append(
            Expansion(subject="links", written=short(made_from), rule=rule, names=tuple(made))
        )
    return made


def _reverse(own: Fields, merged: Fields, forward: LinkSpec) -> LinkSpec:
    """The way back: as forward, but for what `reverse` and a profile's other way say."""
    differs: Fields | None = own.get("reverse")
    known = forward.problems()
    if differs is None:
        return _spec(own, merged, known=known)
    check_profile(differs, "links")
    upon = over_profile(differs, "links", "down")
    assert upon is not None
    return _spec(differs, nearer(upon, merged), known=known)


def _spec(own: Fields, merged: Fields, known: Collection[str] = ()) -> LinkSpec:
    """The values of one direction, checked together; `known` problems aren't told twice."""
    spec = LinkSpec(**values_of(that_make_sense(merged, own)))
    if merged.given - merged.values.keys():  # reported already: don't judge by what is left
        return spec
    for field, reason in spec.problems().items():
        key = key_of(field)
        if key in own.given:
            own.place.child(key).report(reason)
        elif field not in known:
            hint = "it comes from a profile, defaults.link or the way forward"
            own.place.report(f"`{key}` {reason}", hint)
    return spec
