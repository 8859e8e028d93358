"""What is asked of links by hand, checked and looked up: `api.LinkChange` -> directions. Pure.

Must not know: what else is asked of them, how it comes into force.
"""

from __future__ import annotations

import fnmatch
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from net.links.changes import FIELDS, Change
from net.links.spec import LinkSpec
from net.links.words import name_of
from otter_agent import api
from otter_agent.errors import AgentError
from otter_agent.links.shapes import Asked
from otter_agent.links.ways import Way

LONGEST_S = 30 * 86400.0
"""Of a change that ends by itself."""
MOST_DIRECTIONS = 20_000
"""Changed by one request, each as often as it is named: about two seconds of the agent's time."""
MOST_GLOBS = 100
_LONGEST_GLOB = 300
"""A link's name has 200 characters at most; a long pattern takes long to be read."""


def resolve(changes: Sequence[api.LinkChange], ways: Iterable[Way], mesh: str) -> list[Asked[Way]]:
    """Look up what each change is about.

    Raises:
        AgentError: `not-found`: no such link or direction; `bad-request`: a value that is none.
    """
    index = _Index(ways, mesh)
    found, count = [], 0
    for change in changes:
        found.append(_resolved(change, index))
        count += len(found[-1].of)
        if count > MOST_DIRECTIONS:
            text = f"more than {MOST_DIRECTIONS} directions changed at once"
            raise AgentError("bad-request", text, hint="ask for less at a time")
    return found


class _Index:
    """What names and globs of links stand for; each glob is looked up once."""

    def __init__(self, ways: Iterable[Way], mesh: str) -> None:
        self._mesh = mesh
        self._by_link: dict[str, list[Way]] = {}
        for way in ways:
            self._by_link.setdefault(way.link, []).append(way)
        self._globs: dict[str, list[Way]] = {}

    def ways(self, pattern: str) -> list[Way]:
        """All directions. Raises `AgentError` if it stands for none."""
        found = self._by_link.get(pattern) or self._globs.get(pattern)
        if found is None:
            found = self._globs[pattern] = self._matching(pattern)
        if found:
            return found
        links = list(self._by_link)
        some = ", ".join(links[:20]) + (", …" if links[20:] else "")
        hint = f"there are: {some}" if links else "it has no links"
        text = f"no link {pattern[:80]!r} in mesh {self._mesh}"
        raise AgentError("not-found", text, hint=hint)

    def _matching(self, glob: str) -> list[Way]:
        if len(self._globs) >= MOST_GLOBS:
            raise AgentError("bad-request", f"more than {MOST_GLOBS} globs at once")
        if len(glob) > _LONGEST_GLOB:
            return []
        links = fnmatch.filter(self._by_link, glob)
        return [way for link in links for way in self._by_link[link]]


def _resolved(change: api.LinkChange, index: _Index) -> Asked[Way]:
    found = index.ways(change.link)
    if change.direction:
        found = _one_way(change, found)
    if change.for_s is not None and not 0 < change.for_s <= LONGEST_S:
        why = f"{change.for_s:g} s is no time after which a change can end"
        raise AgentError("bad-request", why, hint="more than 0, at most 30 days")
    return Asked(
        of=tuple(found),
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
    if "delivery" in given:
        raise AgentError("bad-request", "delivery is for a timeline to ask for: it knows when")
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
