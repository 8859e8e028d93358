"""Which links, hosts and modules are meant by names, globs and `FROM>TO`. Pure."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NoReturn

from otter_agent import api
from otter_ctl.errors import UnknownNameError


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
        UnknownNameError: A name stands for nothing, or none of its links has that direction.
    """
    if not known:
        raise UnknownNameError(f"mesh {mesh}", "has no links")
    links = list(dict.fromkeys(way.name for way in known))
    if not names:
        ways = [way for way in known if _goes(way, direction)]
        return ways or _no_direction(f"mesh {mesh}", known, direction)
    found: set[tuple[str, str, str]] = set()
    for name in names:
        link, _, ends = name.partition(":")
        there = [way for way in known if fnmatch.fnmatchcase(way.name, link)]
        if not there:
            raise UnknownNameError(f"link {link}", f"not in mesh {mesh}", hint=_there_are(links))
        ways = [way for way in there if _goes(way, ends or direction)]
        ways = ways or _no_direction(f"link {link}", there, ends or direction)
        found.update((way.name, way.from_, way.to) for way in ways)
    return [way for way in known if (way.name, way.from_, way.to) in found]


def chosen_cells(
    known: Sequence[api.CellStatus], names: Sequence[str], mesh: str
) -> list[api.CellStatus]:
    """The cells that are meant by names and globs, in the mesh's order; no name: all.

    Raises:
        UnknownNameError: A name stands for nothing.
    """
    if not known:
        raise UnknownNameError(f"mesh {mesh}", "has no cells")
    there = [cell.name for cell in known]
    found: set[str] = set()
    for name in names or there:
        matching = fnmatch.filter(there, name)
        if not matching:
            raise UnknownNameError(f"cell {name}", f"not in mesh {mesh}", hint=_there_are(there))
        found.update(matching)
    return [cell for cell in known if cell.name in found]


def chosen_budgets(
    known: Sequence[api.BudgetStatus], kind: str, names: Sequence[str], mesh: str
) -> list[api.BudgetStatus]:
    """The hosts or modules that are meant by names and globs, in the mesh's order; no name: all.

    Raises:
        UnknownNameError: A name stands for nothing.
    """
    there = [budget.name for budget in known if budget.kind == kind]
    if not there:
        raise UnknownNameError(f"mesh {mesh}", f"has no {kind}s")
    found: set[str] = set()
    for name in names or ["*"]:
        matching = fnmatch.filter(there, name)
        if not matching:
            raise UnknownNameError(f"{kind} {name}", f"not in mesh {mesh}", hint=_there_are(there))
        found.update(matching)
    return [budget for budget in known if budget.kind == kind and budget.name in found]


def chosen_anything(
    links: Sequence[api.LinkStatus],
    budgets: Sequence[api.BudgetStatus],
    names: Sequence[str],
    direction: str,
    mesh: str,
) -> tuple[list[api.LinkStatus], list[api.BudgetStatus]]:
    """All that names and globs stand for: links, hosts and modules; no name: everything.

    Args:
        links: All there are.
        budgets: Of all hosts and modules.
        names: As for `chosen`.
        direction: Of links; then hosts and modules aren't meant.
        mesh: Its name.

    Raises:
        UnknownNameError: A name stands for nothing.
    """
    if not names and not direction:
        return list(links), list(budgets)
    if direction:
        return chosen(links, names, direction, mesh), []
    of_links = [
        name
        for name in names
        if any(fnmatch.fnmatchcase(way.name, name.partition(":")[0]) for way in links)
    ]
    meant = [x for x in budgets if any(fnmatch.fnmatchcase(x.name, name) for name in names)]
    for name in names:
        if name not in of_links and not any(fnmatch.fnmatchcase(x.name, name) for x in meant):
            there = [*dict.fromkeys(way.name for way in links), *(x.name for x in budgets)]
            what = "no link, host or module of that name"
            raise UnknownNameError(name, f"{what} in mesh {mesh}", hint=_there_are(there))
    return chosen(links, of_links, "", mesh) if of_links else [], meant


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


def _goes(way: api.LinkStatus, direction: str) -> bool:
    source, arrow, target = direction.partition(">")
    there = fnmatch.fnmatchcase(way.from_, source) and fnmatch.fnmatchcase(way.to, target)
    return not direction or (bool(arrow) and there)


def _no_direction(where: str, ways: Sequence[api.LinkStatus], direction: str) -> NoReturn:
    there = dict.fromkeys(f"{way.from_}>{way.to}" for way in ways)
    raise UnknownNameError(where, f"has no direction {direction}", hint=_there_are(there))


def _there_are(names: Sequence[str] | dict[str, None]) -> str:
    some = list(names)[:20]
    return f"there are: {', '.join(some)}{', …' if len(names) > 20 else ''}"
