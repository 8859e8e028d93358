"""Which directions of links are meant by names, globs and `FROM>TO`. Pure."""

from __future__ import annotations

import fnmatch
from collections.abc import Sequence
from typing import NoReturn

from otter_agent import api
from otter_ctl.errors import PlanError


def chosen(
    known: Sequence[api.LinkStatus], names: Sequence[str], direction: str, mesh: str
) -> list[api.LinkStatus]:
    """The directions that are meant, in the mesh's order; no name: those of all links.

    Args:
        known: All there are.
        names: Of links, each with the one direction that is meant or without: `radio:a>b`; globs.
        direction: What names without one mean; empty: both.
        mesh: Its name.

    Raises:
        PlanError: A name stands for nothing, or none of its links has that direction.
    """
    if not known:
        raise PlanError(f"mesh {mesh}", "has no links")
    links = list(dict.fromkeys(way.name for way in known))
    if not names:
        ways = [way for way in known if _goes(way, direction)]
        return ways or _no_direction(f"mesh {mesh}", known, direction)
    found: set[tuple[str, str, str]] = set()
    for name in names:
        link, _, ends = name.partition(":")
        there = [way for way in known if fnmatch.fnmatchcase(way.name, link)]
        if not there:
            raise PlanError(f"link {link}", f"not in mesh {mesh}", hint=_there_are(links))
        ways = [way for way in there if _goes(way, ends or direction)]
        ways = ways or _no_direction(f"link {link}", there, ends or direction)
        found.update((way.name, way.from_, way.to) for way in ways)
    return [way for way in known if (way.name, way.from_, way.to) in found]


def _goes(way: api.LinkStatus, direction: str) -> bool:
    source, arrow, target = direction.partition(">")
    there = fnmatch.fnmatchcase(way.from_, source) and fnmatch.fnmatchcase(way.to, target)
    return not direction or (bool(arrow) and there)


def _no_direction(where: str, ways: Sequence[api.LinkStatus], direction: str) -> NoReturn:
    there = dict.fromkeys(f"{way.from_}>{way.to}" for way in ways)
    raise PlanError(where, f"has no direction {direction}", hint=_there_are(there))


def _there_are(names: Sequence[str] | dict[str, None]) -> str:
    some = list(names)[:20]
    return f"there are: {', '.join(some)}{', …' if len(names) > 20 else ''}"
