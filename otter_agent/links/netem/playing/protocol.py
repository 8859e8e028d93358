"""What the agent and the helper that plays its changes say to each other (`links.talk`). Pure.

Must not know: sockets, netlink.
"""

from __future__ import annotations

from typing import Literal

from net.links.spec import LinkSpec
from otter_agent.api.base import Data
from otter_agent.links.base import Direction
from otter_agent.links.netem.tree import Apart
from otter_agent.links.talk import Reply

MARK = "--netem"
"""Stands in a helper's command line."""
LATER_A_REQUEST = 128
"""Changes to come told at once: reading more would keep others waiting."""

Kind = Literal["read", "plan", "drop", "forget", "health", "end"]


class Have(Data, frozen=True):
    """A qdisc or class that a direction has, as the kernel takes it."""

    handle: int
    kind: str
    options: bytes
    overhead: int | None = None


class Lent(Data, frozen=True):
    """A direction whose changes the helper makes from now on, until it is dropped."""

    direction: Direction
    inodes: tuple[int, int]
    """Of the source's and the target's namespace: another one may get the same name."""
    devices: tuple[int, int, int]
    """Indices: that it leaves by, that it comes in by, and of the detour beside that; 0: none."""
    ready: bool
    """Whether all that comes in goes through the detour."""
    late_ns: int
    """By how much timers may be late without loss of rate."""
    have: tuple[Have, ...]
    apart: Apart = ""
    """Whether its queue is that of a medium, which stays as it is, and who sends."""


class ToCome(Data, frozen=True):
    """A change to come."""

    way: int
    """Its direction's place among the request's."""
    number: int
    at_s: float
    spec: LinkSpec


class Came(Data, frozen=True):
    """One that has come, or failed."""

    number: int
    at_s: float
    code: int = 0
    """The kernel's error number; 0: it is in force."""
    why: str = ""
    drops: int | None = None
    """It went down or up: how many packets its first qdisc had dropped by then."""


class Request(Data, frozen=True):
    """What the agent wants.

    `plan`: changes of `directions`; `drop`: nothing of `directions` is to come any more, the agent
    changes them itself; `forget`: the same for a mesh, and its namespaces are let go of; `health`.
    """

    kind: Kind
    mesh: str = ""
    directions: tuple[Direction, ...] = ()
    everything: bool = False
    """`drop`: all directions."""
    lent: tuple[Lent, ...] = ()
    later: tuple[ToCome, ...] = ()


class Pulse(Data, frozen=True):
    """How late this machine lets packets go; see `otter_agent.links.base.Health`."""

    moments: int = 0
    late_moments: int = 0
    worst_s: float = 0.0


class Answer(Reply, frozen=True):
    """What came of a request."""

    came: tuple[Came, ...] = ()
    """To `plan`: of the mesh, since this was last asked."""
    pulse: Pulse | None = None
    """To `health`."""
