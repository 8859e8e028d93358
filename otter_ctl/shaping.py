"""Which directions of links are meant by names, globs and `A>B`. Pure."""

from __future__ import annotations

import fnmatch
from collections.abc import Sequence

from otter_agent import api
from otter_ctl.errors import PlanError


def chosen(
    known: Sequence[api.LinkStatus], names: Sequence[str], direction: str, mesh: str
) -> list[api.LinkStatus]:
    """The directions that are meant, in the mesh's order; no name: those of all links.

    Raises:
        PlanError: A name stands for nothing, or none of its links has that direction.
    """
    if not known:
        raise PlanError(f"mesh {mesh}", "has no links")
    links = list(dict.fromkeys(way.name for way in known))
    found: set[str] = set()
    for name in names or links:
        matching = [name] if name in links else fnmatch.filter(links, name)
        if not matching:
            raise PlanError(f"link {name}", f"not in mesh {mesh}", hint=_there_are(links))
        if direction and names and not _ways(known, matching, direction):
            there = [f"{w.from_}>{w.to}" for w in known if w.name in matching]
            reason = f"has no direction {direction}"
            raise PlanError(f"link {name}", reason, hint=_there_are(dict.fromkeys(there)))
        found.update(matching)
    ways = _ways(known, found, direction)
    if not ways:
        all_ways = dict.fromkeys(f"{w.from_}>{w.to}" for w in known)
        raise PlanError(f"mesh {mesh}", f"has no direction {direction}", hint=_there_are(all_ways))
    return ways


def _ways(
    known: Sequence[api.LinkStatus], links: Sequence[str] | set[str], direction: str
) -> list[api.LinkStatus]:
    return [w for w in known if w.name in links and direction in ("", f"{w.from_}>{w.to}")]


def _there_are(names: Sequence[str] | dict[str, None]) -> str:
    some = list(names)[:20]
    return f"there are: {', '.join(some)}{', …' if len(names) > 20 else ''}"
