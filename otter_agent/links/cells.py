"""What `status` shows of a mesh's cells: their capacity now, from what is asked of links. Pure."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence

from otter_agent import api

_ROUNDING = 1e-9


def statuses(
    cells: Sequence[api.Cell], links: Collection[api.LinkStatus]
) -> tuple[api.CellStatus, ...]:
    """Of all cells, in their order."""
    rates = {(x.name, x.from_): x.asked.get("rate_bps") for x in links} if cells else {}
    down = {x.name for x in links if x.asked.get("up") is False}
    return tuple(_status(cell, rates, down) for cell in cells)


def _status(
    cell: api.Cell, rates: Mapping[tuple[str, str], float | None], down_links: Collection[str]
) -> api.CellStatus:
    up = {member: rates.get((member.link, member.host)) for member in cell.members}
    down = {member: rates.get((member.link, cell.host)) for member in cell.members}
    return api.CellStatus(
        name=cell.name,
        host=cell.host,
        half_duplex=cell.half_duplex,
        uplink_bps=_capacity(up),
        downlink_bps=_capacity(down),
        members=cell.members,
        present=tuple(m.host for m in cell.members if m.link not in down_links),
    )


def _capacity(rates: Mapping[api.CellMember, float | None]) -> float | None:
    """That of which each has its efficiency's part; None if there is none."""
    found = [rate / member.efficiency for member, rate in rates.items() if rate is not None]
    if not found or len(found) < len(rates):
        return None
    same = all(math.isclose(one, found[0], rel_tol=_ROUNDING) for one in found)
    return found[0] if same else None
