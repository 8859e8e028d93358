"""What the agent and the helper that carries its links say to each other (`links.talk`). Pure.

Must not know: sockets, devices.
"""

from __future__ import annotations

from typing import Literal

from net.links.spec import LinkSpec
from otter_agent.api.base import Data
from otter_agent.links.base import Counters, Direction
from otter_agent.links.talk import Reply

MARK = "--links"
"""Stands in a helper's command line."""
LATER_A_REQUEST = 100
"""Changes to come told at once, likewise."""
LINKS_A_REQUEST = 60
"""Setting more at once would keep packets waiting, and a message takes 253 descriptors at most: two
of each link, and a trace of each direction."""

Kind = Literal["set", "plan", "read", "count", "health", "forget", "end"]


class End(Data, frozen=True):
    """One end of a link that the helper shall carry, whose descriptor comes along."""

    netns: str
    inode: int
    """Of the namespace: another one may get the same name."""
    offload: bool
    """Whether what is sent out there may come uncut, now."""


class Attach(Data, frozen=True):
    """A link to carry from now on; two descriptors come along, in the order of `ends`."""

    device: str
    ends: tuple[End, End]


class Setting(Data, frozen=True):
    """What is asked of a direction."""

    direction: Direction
    spec: LinkSpec


class ToCome(Data, frozen=True):
    """A change to come."""

    way: int
    """Its direction's place among the request's."""
    number: int
    at_s: float
    spec: LinkSpec


class Came(Data, frozen=True):
    """One that has come."""

    number: int
    at_s: float
    carried: bool = True
    """False: nothing came of it, as the direction isn't carried."""


class Request(Data, frozen=True):
    """What the agent wants; `directions` for all kinds but `set` and `end`."""

    kind: Kind
    attach: tuple[Attach, ...] = ()
    settings: tuple[Setting, ...] = ()
    traces: tuple[str, ...] = ()
    """Digests of traces whose opportunities are asked for; their files come along, after links."""
    directions: tuple[Direction, ...] = ()
    later: tuple[ToCome, ...] = ()
    """`plan`: what comes on top of all that is to come of `directions`."""
    mesh: str = ""
    """`forget`: all links of this mesh but `directions`; `health`: of its links; `plan`: whose
    changes that came to tell."""
    everything: bool = False
    """`read`: all directions."""


class Found(Data, frozen=True):
    """What is in force for one direction."""

    direction: Direction
    spec: LinkSpec | None
    """None: the helper doesn't carry it."""
    inodes: tuple[int, int] = (0, 0)
    """Of the source's and the target's namespace."""
    counters: Counters | None = None


class Pulse(Data, frozen=True):
    """How a helper keeps up, since it began; see `otter_agent.links.base.Health`."""

    moments: int = 0
    late_moments: int = 0
    worst_s: float = 0.0
    packets: int = 0
    """Of the mesh that was asked about, as the two that follow."""
    late: int = 0
    no_room: int = 0


class Answer(Reply, frozen=True):
    """What came of a request."""

    found: tuple[Found, ...] = ()
    pulse: Pulse | None = None
    """To `health`."""
    came: tuple[Came, ...] = ()


_PER_PACKET = (
    *("jitter_s", "loss_ratio", "loss_gilbert", "loss_markov", "rate_bps"),
    *("duplicate_ratio", "corrupt_ratio", "reorder_ratio", "slot_s", "delivery"),
)


def uncut(spec: LinkSpec) -> bool:
    """Whether a direction may carry packets of up to 64 KiB that are yet to be cut.

    It may where nothing is done to single packets: a delay is the same for all parts of one.
    """
    return not any(getattr(spec, name) for name in _PER_PACKET)
