"""Which directions of links are meant by names, globs and `A>B`. Pure."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

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


def chosen_cells(
    known: Sequence[api.CellStatus], names: Sequence[str], mesh: str
) -> list[api.CellStatus]:
    """The cells that are meant by names and globs, in the mesh's order; no name: all.

    Raises:
        PlanError: A name stands for nothing.
    """
    if not known:
        raise PlanError(f"mesh {mesh}", "has no cells")
    there = [cell.name for cell in known]
    found: set[str] = set()
    for name in names or there:
        matching = fnmatch.filter(there, name)
        if not matching:
            raise PlanError(f"cell {name}", f"not in mesh {mesh}", hint=_there_are(there))
        found.update(matching)
    return [cell for cell in known if cell.name in found]


def cell_changes(
    cells: Sequence[api.CellStatus],
    capacity: Mapping[str, float],
    properties: Mapping[str, Any],
    for_s: float | None,
) -> Iterator[api.LinkChange]:
    """What changes of the links of members.

    Args:
        cells: That are changed.
        capacity: `uplink` and `downlink` in bit/s, or one of them.
        properties: Field of `LinkSpec` -> value, of both directions.
        for_s: Then it ends; None: it lasts.
    """
    for cell in cells:
        for member in cell.members:
            ways = {
                "uplink": f"{member.host}>{cell.host}",
                "downlink": f"{cell.host}>{member.host}",
            }
            for side, direction in ways.items():
                values = dict(properties)
                if side in capacity:
                    values["rate_bps"] = capacity[side] * member.efficiency
                if values:
                    yield api.LinkChange(
                        link=member.link, direction=direction, set=values, for_s=for_s
                    )


def _ways(
    known: Sequence[api.LinkStatus], links: Sequence[str] | set[str], direction: str
) -> list[api.LinkStatus]:
    return [w for w in known if w.name in links and direction in ("", f"{w.from_}>{w.to}")]


def _there_are(names: Sequence[str] | dict[str, None]) -> str:
    some = list(names)[:20]
    return f"there are: {', '.join(some)}{', …' if len(names) > 20 else ''}"
