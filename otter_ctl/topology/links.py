"""`[[links]]` -> `Link`s: ends, globs, names, defaults, and what differs backwards.

Must not know: TOML, positions, modules.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from net.links.spec import LinkSpec
from otter_ctl.topology.globs import Names, is_glob, pair
from otter_ctl.topology.model import LINKS_LIMIT, Expansion, Link
from otter_ctl.topology.names import short
from otter_ctl.topology.profiles import Way, check_profile, over_profile
from otter_ctl.topology.reader import Bad, Fields, Place, shown

_FIELDS = {"delay": "delay_s", "jitter": "jitter_s", "loss": "loss_ratio", "rate": "rate_bps"}
_KEYS = {field: key for key, field in _FIELDS.items()}


@dataclass(frozen=True, slots=True)
class _End:
    """One end as it is written."""

    word: str
    place: Place


def read_links(
    written: Sequence[Fields],
    defaults: Fields | None,
    hosts: Names | None,
    expansion: list[Expansion],
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
        forward = _spec(own, _merged(own, below, "up"))
        reverse = None
        if "between" in own.given:
            reverse = _reverse(own, _merged(own, below, "down"), forward)
        if ends is None or ("name" in own.given and "name" not in own):
            continue
        _add(own, ends, forward, reverse, hosts, links, expansion)
    return tuple(links.values())


def _merged(own: Fields, below: dict[Way, Fields | None], way: Way) -> Fields:
    """Own keys, own profile, defaults, their profile: what is nearer wins."""
    upon = over_profile(own, "links", way)
    assert upon is not None
    return upon.over(below[way])


def _ends(own: Fields) -> tuple[_End, _End] | None:
    """The two ends, or None after reporting."""
    one_way = own.given & {"from", "to"}
    if "between" in own.given:
        for key in sorted(one_way):
            own.place.child(key).report("goes not together with `between`")
        if "between" not in own:
            return None
        a, b = own["between"]
        place = own.place
        return _End(a, place.child("between", 0)), _End(b, place.child("between", 1))
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
    return _End(own["from"], own.place.child("from")), _End(own["to"], own.place.child("to"))


def _add(
    own: Fields,
    ends: tuple[_End, _End],
    forward: LinkSpec,
    reverse: LinkSpec | None,
    hosts: Names | None,
    links: dict[str, Link],
    expansion: list[Expansion],
) -> None:
    """The link of a table, or all that its globs make."""
    globs = [is_glob(end.word) for end in ends]
    if any(globs) and hosts is None:
        return
    pairs, rule = _pairs(own, ends, hosts, LINKS_LIMIT - len(links))
    name = own.get("name")
    if pairs and not any(globs) and "pair" in own.given:
        own.place.child("pair").report("goes only with globs")
    made_from = (name or f"{ends[0].word}-{ends[1].word}") if any(globs) else ""
    made: list[str] = []
    for a, b in pairs:
        if name is None or not made_from:
            called = name or f"{a}-{b}"
        else:
            varying = (end for end, several in zip((a, b), globs, strict=True) if several)
            called = "-".join((name, *varying))
        if called in links:
            what = "makes two links" if made_from else "there are two links"
            own.place.report(f"{what} called {shown(called)}", "give this one another `name`")
            return
        links[called] = Link(
            name=called, a=a, b=b, forward=forward, reverse=reverse, made_from=made_from
        )
        made.append(called)
    if made_from and made:
        expansion.append(
            Expansion(subject="links", written=short(made_from), rule=rule, names=tuple(made))
        )


def _pairs(
    own: Fields, ends: tuple[_End, _End], hosts: Names | None, limit: int
) -> tuple[list[tuple[str, str]], str]:
    """The hosts that are joined; none after reporting."""
    a, b = ends
    left: tuple[str, ...] = (a.word,)
    right: tuple[str, ...] = (b.word,)
    if hosts is not None:
        left, right = hosts.find(a.word, a.place), hosts.find(b.word, b.place)
        if not left or not right:
            return [], ""
    if a.word == b.word and not is_glob(a.word):
        b.place.report(f"joins host {shown(a.word)} with itself")
        return [], ""
    try:
        both_ways = "between" in own.given
        pairs, rule = pair(left, right, own.get("pair"), both_ways=both_ways, limit=limit)
    except Bad as bad:
        own.place.report(f"{shown(a.word)} and {shown(b.word)}: {bad.reason}", bad.hint)
        return [], ""
    if len(pairs) > limit:
        own.place.report(f"makes more than {LINKS_LIMIT} links")
        return [], ""
    if not pairs:
        b.place.report(f"joins host {shown(left[0])} with itself")
    return pairs, rule


def _reverse(own: Fields, merged: Fields, forward: LinkSpec) -> LinkSpec:
    """The way back: as forward, but for what `reverse` and a profile's other way say."""
    differs: Fields | None = own.get("reverse")
    known = forward.problems()
    if differs is None:
        return _spec(own, merged, known=known)
    check_profile(differs, "links")
    upon = over_profile(differs, "links", "down")
    assert upon is not None
    return _spec(differs, upon.over(merged), known=known)


def _spec(own: Fields, merged: Fields, known: Collection[str] = ()) -> LinkSpec:
    """The values of one direction, checked together; `known` problems aren't told twice."""
    values = {field: merged[key] for key, field in _FIELDS.items() if key in merged}
    if "queue" in merged:
        field, size = merged["queue"]
        values[field] = size
    spec = LinkSpec(**values)
    if merged.given - merged.values.keys():  # reported already: don't judge by what is left
        return spec
    for field, reason in spec.problems().items():
        key = _KEYS.get(field, "queue")
        if key in own.given:
            own.place.child(key).report(reason)
        elif field not in known:
            hint = "it comes from a profile, defaults.link or the way forward"
            own.place.report(f"`{key}` {reason}", hint)
    return spec
