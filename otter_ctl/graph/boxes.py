"""How large hosts and modules are drawn, and what stands in them. Pure.

A host is a header, to which links lead, over its modules, between which streams lead.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from otter_ctl.graph import words
from otter_ctl.graph.model import Host, Module

PAD = 12.0
NAME_PX, TEXT_PX, SMALL_PX = 15.0, 13.0, 11.0
TEXT_LIMIT = 34
"""Characters of a line in a box."""
MARKS = {"": "", "create": "+ ", "update": "~ ", "replace": "± ", "remove": "− "}


@dataclass(slots=True)
class Area:
    """A rectangle; `x` and `y` are its top left corner."""

    x: float
    y: float
    w: float
    h: float

    @property
    def right(self) -> float:
        """Its right edge."""
        return self.x + self.w

    @property
    def bottom(self) -> float:
        """Its lower edge."""
        return self.y + self.h

    @property
    def middle(self) -> tuple[float, float]:
        """Its centre."""
        return self.x + self.w / 2, self.y + self.h / 2

    def overlap(self, other: Area) -> float:
        """The area that both cover, in square pixels."""
        across = min(self.right, other.right) - max(self.x, other.x)
        down = min(self.bottom, other.bottom) - max(self.y, other.y)
        return across * down if across > 0 and down > 0 else 0.0


@dataclass(slots=True)
class Chip:
    """A module's rectangle, relative to the picture."""

    module: Module
    title: str
    detail: str
    area: Area


@dataclass(slots=True)
class Box:
    """A host's rectangle, or the outside world's cloud (`host` is None).

    Attributes:
        header: Height of the part to which links lead.
    """

    host: Host | None
    title: str
    detail: str
    area: Area
    header: float
    chips: list[Chip] = field(default_factory=list)

    def move(self, x: float, y: float) -> None:
        """Put its top left corner there, with all that is in it."""
        dx, dy = x - self.area.x, y - self.area.y
        for area in (self.area, *(chip.area for chip in self.chips)):
            area.x += dx
            area.y += dy


def cloud() -> Box:
    """The outside world."""
    return Box(None, "outside", "", Area(0, 0, 112, 64), 64)


def small(host: Host) -> Box:
    """A host in a picture of many: its name alone."""
    title = words.shorten(MARKS[host.change] + words.counted(host.name, host.count), 22)
    width = max(64.0, words.width(title, SMALL_PX) + 16)
    return Box(host, title, "", Area(0, 0, width, 24), 24)


def full(host: Host) -> Box:
    """A host with its budget and its modules."""
    title = words.shorten(MARKS[host.change] + words.counted(host.name, host.count), TEXT_LIMIT)
    machine = f"on {host.machine}" if host.machine else ""
    detail = _line(host.profile, words.budget(host), machine)
    header = 46.0 if detail else 32.0
    chips = [_chip(module) for module in host.modules]
    inner = max(
        [words.width(title, NAME_PX) * 1.1, words.width(detail, SMALL_PX)]
        + [chip.area.w for chip in chips]
    )
    box = Box(host, title, detail, Area(0, 0, max(110.0, inner + 2 * PAD), header), header, chips)
    y = header + (PAD if chips else 0)
    for chip in chips:
        chip.area = Area(PAD, y, box.area.w - 2 * PAD, chip.area.h)
        y += chip.area.h + 8
    box.area.h = y - 8 + PAD if chips else header
    return box


def _chip(module: Module) -> Chip:
    title = words.shorten(
        MARKS[module.change] + words.counted(module.name, module.count), TEXT_LIMIT
    )
    detail = _line(
        module.state, words.shorten(words.last_part(module.what), 24), words.budget(module)
    )
    dot = 14.0 if module.state else 0.0
    width = max(words.width(title, TEXT_PX) * 1.1 + dot, words.width(detail, SMALL_PX)) + 20
    return Chip(module, title, detail, Area(0, 0, width, 42.0 if detail else 28.0))


def _line(*parts: str) -> str:
    return words.DOT.join(part for part in parts if part)
