"""What an event of a cell is for the links of its members. Pure.

Must not know: when it happens, whether it makes sense there.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from net.links.changes import Change
from otter_ctl.topology.globs import Names
from otter_ctl.topology.model import Cell
from otter_ctl.topology.properties import values_of
from otter_ctl.topology.reader import Fields

Side = Literal["forward", "reverse"]
Ways = dict[str, list[str]]
"""`both`, `forward` and `reverse` -> links."""
CAPACITY: Mapping[str, Side] = {"uplink": "forward", "downlink": "reverse"}
"""Key -> the direction of a member's link that has a part of it."""


_OF_OTHERS = {
    "rate": ("is of a link, not of a cell", "write `uplink`, `downlink` or both"),
    "cpu": ("is of hosts", ""),
    "memory": ("is of hosts", ""),
    "speed": ("is of hosts", ""),
    "io": ("is of hosts and modules", ""),
    "network": ("is of hosts and modules", ""),
    "gpu_share": ("is of hosts and modules", ""),
}


def is_sound(written: Fields) -> bool:
    """Whether all that is set could be read, and something was; else that has been reported."""
    return bool(written.values) and not written.given - written.values.keys()


def cell_parts(own: Fields, names: Names, cells: Mapping[str, Cell]) -> list[tuple[Change, Ways]]:
    """What changes of which links, each direction once; none after reporting."""
    found: dict[str, None] = {}
    for number, word in enumerate(own["cell"]):
        place = own.place.child("cell")
        found |= dict.fromkeys(
            names.find(word, place.child(number) if len(own["cell"]) > 1 else place)
        )
    written: Fields | None = own.get("set")
    for key in sorted(_OF_OTHERS.keys() & (written.given if written is not None else set())):
        own.place.child("set", key).report(*_OF_OTHERS[key])
        return []
    if written is not None and not is_sound(written):
        return []
    chosen = [cells[name] for name in found]
    if not chosen:
        return []
    common = Change() if written is None else Change.of(**values_of(written))
    capacity = (
        {} if written is None else {CAPACITY[k]: written[k] for k in CAPACITY if k in written}
    )
    if not capacity:
        ways: Ways = {
            "both": [m.link for c in chosen for m in c.members],
            "forward": [],
            "reverse": [],
        }
        return [(common, ways)]
    return [
        part
        for side in CAPACITY.values()
        for part in _side(chosen, side, common, capacity.get(side))
    ]


def _side(
    cells: list[Cell], side: Side, common: Change, capacity: float | None
) -> list[tuple[Change, Ways]]:
    """Of one direction: members of one efficiency have one rate."""
    links: dict[float, list[str]] = {}
    for cell in cells:
        for member in cell.members:
            links.setdefault(member.efficiency if capacity else 1.0, []).append(member.link)
    parts = []
    for efficiency, names in links.items():
        change = common
        if capacity is not None:
            change = common.then(Change.of(rate_bps=capacity * efficiency))
        if change:
            parts.append((change, {"both": [], "forward": [], "reverse": [], side: names}))
    return parts
