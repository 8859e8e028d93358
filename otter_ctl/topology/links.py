"""`[[links]]` -> `Link`s: ends, names, defaults, and what differs backwards.

Must not know: TOML, positions, modules.
"""

from __future__ import annotations

from collections.abc import Collection

from net.links.spec import LinkSpec
from otter_ctl.topology.model import Link
from otter_ctl.topology.reader import Fields, did_you_mean, shown

_FIELDS = {"delay": "delay_s", "jitter": "jitter_s", "loss": "loss_ratio", "rate": "rate_bps"}
_KEYS = {field: key for key, field in _FIELDS.items()}


def read_links(
    written: list[Fields], defaults: Fields | None, hosts: Collection[str] | None
) -> tuple[Link, ...]:
    """All sound links; `hosts` None: they couldn't be read, so ends aren't looked up."""
    links: dict[str, Link] = {}
    for own in written:
        ends = _ends(own, hosts)
        merged = own.over(defaults)
        forward = _spec(own, merged)
        reverse = _reverse(own, merged, forward) if "between" in own else None
        if ends is None or ("name" in own.given and "name" not in own):
            continue
        name = own.get("name") or f"{ends[0]}-{ends[1]}"
        if name in links:
            hint = "give this one another `name`"
            own.place.report(f"there are two links called {shown(name)}", hint)
            continue
        links[name] = Link(name=name, a=ends[0], b=ends[1], forward=forward, reverse=reverse)
    return tuple(links.values())


def _ends(own: Fields, hosts: Collection[str] | None) -> tuple[str, str] | None:
    """The two hosts, or None after reporting."""
    one_way = own.given & {"from", "to"}
    keys: list[tuple[str | int, ...]]
    if "between" in own.given:
        for key in sorted(one_way):
            own.place.child(key).report("goes not together with `between`")
        ends, keys = own.get("between"), [("between", 0), ("between", 1)]
    elif not one_way:
        hint = 'write between = ["a", "b"], or `from` and `to` for one direction'
        own.place.report("missing key `between`", hint)
        return None
    else:
        for key in sorted({"from", "to"} - one_way):
            own.place.report(f"missing key `{key}`", "a link has two ends")
        if "reverse" in own.given:
            hint = "write `between` instead of `from` and `to`"
            own.place.child("reverse").report("this link carries one way only", hint)
        ends = (own["from"], own["to"]) if "from" in own and "to" in own else None
        keys = [("from",), ("to",)]
    return None if ends is None else _known(own, ends, keys, hosts)


def _known(
    own: Fields,
    ends: tuple[str, str],
    keys: list[tuple[str | int, ...]],
    hosts: Collection[str] | None,
) -> tuple[str, str] | None:
    sound = True
    for end, key in zip(ends, keys, strict=True):
        if hosts is not None and end not in hosts:
            place = own.place.child(*key)
            place.report(f"unknown host {shown(end)}{did_you_mean(end, hosts, place)}")
            sound = False
    if ends[0] == ends[1]:
        own.place.child(*keys[1]).report(f"joins host {shown(ends[0])} with itself")
        sound = False
    return ends if sound else None


def _reverse(own: Fields, merged: Fields, forward: LinkSpec) -> LinkSpec:
    """The way back: as forward, but for what `reverse` says."""
    differs = own.get("reverse")
    if differs is None:
        return forward
    return _spec(differs, differs.over(merged), known=forward.problems())


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
            own.place.report(f"`{key}` {reason}", "it comes from defaults.link or the way forward")
    return spec
