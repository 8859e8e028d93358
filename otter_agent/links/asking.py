"""What is asked of links by hand, checked and looked up: `api.LinkChange` -> directions. Pure.

Must not know: what else is asked of them, how it comes into force.
"""

from __future__ import annotations

import fnmatch
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from net.links.changes import FIELDS, Change
from net.links.spec import LinkSpec
from net.links.words import name_of
from otter_agent import api
from otter_agent.errors import AgentError
from otter_agent.links.ways import Way

LONGEST_S = 30 * 86400.0
"""Of a change that ends by itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One change, of some directions.

    Attributes:
        reset: Whether all that was changed by hand before is undone first.
        for_s: Then it ends; None: it lasts.
    """

    ways: tuple[Way, ...]
    change: Change
    reset: bool
    for_s: float | None


def resolve(changes: Sequence[api.LinkChange], ways: Iterable[Way], mesh: str) -> list[Asked]:
    """Look up what each change is about.

    Raises:
        AgentError: `not-found`: no such link or direction; `bad-request`: a value that is none.
    """
    known = list(ways)
    return [_resolved(change, known, mesh) for change in changes]


def _resolved(change: api.LinkChange, known: Sequence[Way], mesh: str) -> Asked:
    links = list(dict.fromkeys(way.link for way in known))
    matching = {change.link} if change.link in links else {*fnmatch.filter(links, change.link)}
    if not matching:
        some = ", ".join(links[:20]) + (", …" if links[20:] else "")
        hint = f"there are: {some}" if links else "it has no links"
        raise AgentError("not-found", f"no link {change.link[:80]!r} in mesh {mesh}", hint=hint)
    found = [way for way in known if way.link in matching]
    if change.direction:
        found = _one_way(change, found)
    if change.for_s is not None and not 0 < change.for_s <= LONGEST_S:
        why = f"{change.for_s:g} s is no time after which a change can end"
        raise AgentError("bad-request", why, hint="more than 0, at most 30 days")
    return Asked(
        ways=tuple(found),
        change=Change.of(**_values(change.set)),
        reset=change.reset,
        for_s=change.for_s,
    )


def _one_way(change: api.LinkChange, ways: Sequence[Way]) -> list[Way]:
    source, arrow, target = change.direction.partition(">")
    found = [way for way in ways if (way.source, way.target) == (source, target)]
    if arrow and found:
        return found
    there = ", ".join(dict.fromkeys(f"{w.source}>{w.target}" for w in ways[:20]))
    text = f"link {change.link[:80]}: no direction {change.direction[:130]!r}"
    raise AgentError("not-found", text, hint=f"there are: {there}")


def _values(given: Mapping[str, Any]) -> dict[str, Any]:
    """Of their fields' types. Raises `AgentError`."""
    unknown = sorted(given.keys() - FIELDS)
    if unknown:
        known = ", ".join(sorted(FIELDS))
        text = f"a link has no property {unknown[0][:80]!r}"
        raise AgentError("bad-request", text, hint=f"its properties are {known}")
    named = {name: value for name, value in given.items() if value is not None}
    for name, value in named.items():
        if isinstance(value, bool) != (name in ("up", "ecn")):
            kind = "true or false" if name in ("up", "ecn") else "a number or text"
            raise AgentError("bad-request", f"{name_of(name)} must be {kind}")
        if isinstance(value, float) and not math.isfinite(value):
            raise AgentError("bad-request", f"{name_of(name)} must be a finite number")
    try:
        spec = msgspec.convert(named, LinkSpec)
    except msgspec.ValidationError as error:
        raise AgentError("bad-request", f"properties of a link: {error}") from error
    return {name: getattr(spec, name) for name in given}
