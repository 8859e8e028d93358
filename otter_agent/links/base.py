"""What a link driver is: makes directions of links what is asked of them, and reads back. Pure.

A driver is level-triggered as all else: `apply` looks at what is there and changes what differs,
never by taking a qdisc or device away that carries packets. All methods are synchronous and
thread-safe; the agent calls them from threads.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, Literal

from net.links.spec import LinkSpec
from otter_agent.api import LinkCounters
from otter_agent.errors import NetworkError

if TYPE_CHECKING:
    from otter_agent.links.planner import Planner

DeviceKind = Literal["veth", "tun"]
Counters = LinkCounters


@dataclass(frozen=True, slots=True, order=True)
class Direction:
    """One direction of a link: from host `source` to host `target`.

    Attributes:
        source_netns: Name of the router namespace that packets leave.
        target_netns: Name of the one that they come into.
        device: The link's device; it has the same name in both.
        seed: The mesh's, of what is left to chance; it makes no other direction of this one.
        hub_netns: Of the host in the middle of its cell, at which all links of a medium meet;
            empty: it's in no cell. It makes no other direction, either.
    """

    mesh: str
    link: str
    source: str
    target: str
    source_netns: str
    target_netns: str
    device: str
    seed: int = field(default=0, compare=False)
    hub_netns: str = field(default="", compare=False)

    def __str__(self) -> str:
        return f"{self.mesh}/{self.link}:{self.source}>{self.target}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What probing a driver found.

    Attributes:
        usable: Whether it works here.
        detail: Why not, and what to try; or what it rests on (`sch_netem, Linux 6.1`).
        error_s: The error of a delay to expect, median; None: unknown.
    """

    usable: bool
    detail: str
    error_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What came of asking for a direction's properties.

    Attributes:
        applied: What is in force, read back; None: it could not be set.
        error: Why it isn't what was asked for.
    """

    applied: LinkSpec | None
    error: NetworkError | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """How well links are carried, counted since whatever carries them began.

    Attributes:
        pid: The process that does it.
        packets: That it let go.
        late: Of those: more than 3 ms after their time.
        no_room: That it dropped as its memory was full.
        overruns: That it never saw, as it was too slow to take them.
        moments: At which it looked how long a packet that comes would wait for it.
        late_moments: Of those: over 3 ms.
        worst_s: The longest of these.
        in_kernel: The kernel lets packets go: `late` isn't known of it, `moments` are those at
            which it was seen how late it let one go.
    """

    pid: int
    in_kernel: bool = False
    packets: int = 0
    late: int = 0
    no_room: int = 0
    overruns: int = 0
    moments: int = 0
    late_moments: int = 0
    worst_s: float = 0.0

    def since(self, before: Health) -> Health:
        """What was counted since then; all of it, where another process or link has begun."""
        names = ("packets", "late", "no_room", "overruns", "moments", "late_moments")
        counts = {n: (getattr(self, n), getattr(before, n)) for n in names}
        anew = self.pid != before.pid
        return Health(
            pid=self.pid,
            in_kernel=self.in_kernel,
            worst_s=self.worst_s,
            **{n: now if anew or now < was else now - was for n, (now, was) in counts.items()},
        )


class LinkDriver(ABC):
    """One way to make links scarce."""

    name: ClassVar[str]
    """In `status`: `netem`, `tun`."""
    device_kind: ClassVar[DeviceKind]
    """What a link's device has to be, at both ends, for this driver to shape it."""
    marks_what_passed: ClassVar[bool] = False
    """Whether what members of a cell send comes in twice by its host's device: as it was sent, and
    with a mark once the medium has let it pass."""
    cuts_nothing: ClassVar[bool] = False
    """Whether it takes the up to 64 KiB that TCP hands a device at once for one packet: then what
    sends into a shaped mesh has to cut it before."""

    keeps_time: ClassVar[bool] = False
    """Whether it lets packets go at a trace's opportunities by itself (`LinkSpec.delivery`); others
    are never asked for that."""

    @abstractmethod
    def probe(self) -> Facts:
        """Whether it works on this machine; changes nothing that stays."""

    def stand_by(self) -> None:  # noqa: B027 - most have nothing to get ready
        """Get ready for the first links, where that takes time. Raises `NetworkError`, `Lost`."""

    @abstractmethod
    def refusals(self, spec: LinkSpec) -> dict[str, str]:
        """Field name -> why this driver can't do what is asked; empty: it can do all of it."""

    def conflicts(self, asked: Iterable[LinkSpec]) -> dict[str, str]:
        """Medium -> why directions of one mesh can't share it as they ask; empty: they can."""
        return {}

    @abstractmethod
    def apply(self, asked: Mapping[Direction, LinkSpec]) -> dict[Direction, Outcome]:
        """Make directions what is asked of them, all of them even when one fails.

        The devices are there and up. A direction that passes unhindered has an empty `LinkSpec`.
        Directions that aren't named stay as they are.
        """

    @abstractmethod
    def read(self, directions: Iterable[Direction]) -> dict[Direction, LinkSpec]:
        """What is in force; directions without any shaping of ours have an empty `LinkSpec`."""

    @abstractmethod
    def counters(self, directions: Collection[Direction]) -> dict[Direction, Counters]:
        """What passed and what was dropped; those that can't be told of are left out."""

    @abstractmethod
    def forget(self, mesh: str, keep: Collection[Direction] = ()) -> None:
        """Let go of a mesh's links but `keep`; its namespaces are about to be dropped."""

    def planner(self) -> Planner | None:
        """Who makes changes at their time, if anybody does; the same each time.

        All that is asked of a mesh's links then goes through it.
        """
        return None

    def lost(self) -> Mapping[str, float]:
        """Mesh -> for how many seconds its links passed nothing, since this was last asked.

        For drivers whose packets pass through something that may end; it is there again by then.
        """
        return {}

    def health(self, directions: Collection[Direction]) -> Health | None:
        """How well these, of one mesh, are carried; None: by nothing that could be late."""
        return None
