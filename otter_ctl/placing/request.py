"""What a placement is asked of, and what it must hold. Pure data."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

CrossS = Callable[[str, str, float], float]
"""(room, room, bytes of a message) -> seconds from one to the other; infinite: no way there."""
Barred = Callable[[str, str, str], str]
"""(room, room, how a flow goes) -> why no flow can lead from one to the other; empty: it can."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """Where items can be.

    Attributes:
        has: Resource (`cpu`, `memory`, …) -> how much; one that is missing here is unlimited.
        offers: What it has by name, for items that need it: labels, a processor's kind.
        lacks: Name -> why it hasn't got that, where it is known.
        closed: Why nothing can be there; empty: it can.
        store: Where the images of what is there are kept; empty: its own, for it alone.
    """

    name: str
    has: Mapping[str, float] = field(default_factory=dict)
    offers: frozenset[str] = frozenset()
    lacks: Mapping[str, str] = field(default_factory=dict)
    closed: str = ""
    store: str = ""

    @property
    def keeps(self) -> str:
        """The name of its store."""
        return self.store or self.name


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """What is placed.

    Attributes:
        needs: Resource -> how much.
        wants: Names that its room must offer.
        room: Where it must be, whether it fits or not: its author's choice; None: anywhere.
        among: The rooms that it may be in; None: all.
        beside: Items of the same room.
        apart: Items that must be in other rooms.
        now: Where it runs already; it stays there unless that room can't hold even it alone.
        there: Room -> what its being there costs by itself, in seconds.
        images: That it needs in its room's store, by key; several items may share one.
    """

    name: str
    needs: Mapping[str, float] = field(default_factory=dict)
    wants: frozenset[str] = frozenset()
    room: str | None = None
    among: frozenset[str] | None = None
    beside: tuple[str, ...] = ()
    apart: tuple[str, ...] = ()
    now: str = ""
    there: Mapping[str, float] = field(default_factory=dict)
    images: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Flow:
    """What one item sends another.

    Attributes:
        message_bytes: Of a message as it is expected.
        weight: What a second of its latency counts against a second of others'.
        by: How it has to go, if only one way will do; empty: any.
    """

    name: str
    source: str
    target: str
    message_bytes: float
    weight: float = 1.0
    by: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """Everything that a placement depends on; a function of this is a placer.

    Attributes:
        rooms: In the order in which they are preferred where nothing else decides.
        items: In the order of their file.
        cross_s: Latency of a message between two rooms.
        noun: What people call a room.
        crowded: What runs stays in a room that has become too small for all that run there.
        sends: (store, image) -> bytes that would have to be brought there; missing: none.
        barred: Why two rooms can have no flow between them; None: all can.
    """

    rooms: tuple[Room, ...]
    items: tuple[Item, ...]
    flows: tuple[Flow, ...] = ()
    cross_s: CrossS
    noun: str = "host"
    crowded: bool = True
    sends: Mapping[tuple[str, str], int] = field(default_factory=dict)
    barred: Barred | None = None


class UnplacedError(Exception):
    """An item that goes nowhere.

    Attributes:
        item: Its name.
        rejected: Name of each room -> why not there.
    """

    def __init__(self, item: str, rejected: Mapping[str, str]) -> None:
        super().__init__(item)
        self.item = item
        self.rejected = dict(rejected)
