"""What changes over the time of a run: desired state and what became of it. Pure data."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from net.conditions import Condition
from net.links.changes import Change
from net.links.delivery import Delivery
from net.links.timeline import Event as TimedEvent
from net.links.traces.trace import Manner
from otter_agent.api.base import Data, digest, encode

TimelineState = Literal["waiting", "running", "paused", "held"]
"""`waiting` for all modules to be ready; `held` at zero until it is started."""
TimelineOrder = Literal["start", "pause", "reset"]


class TraceUse(Data, frozen=True):
    """A trace that one direction of a link plays, or a host or module as its budget.

    With the fields of `net.links.traces.trace.Manner`.
    """

    link: str
    """Empty: it is of a host or a module."""
    way: Literal["forward", "reverse"]
    name: str
    """As people know it."""
    blob: str
    """SHA-256 (hex) of what `net.links.traces.codec` makes of it, uploaded as a blob."""
    loop: bool = True
    offset_s: float = 0.0
    scale: dict[str, float] = msgspec.field(default_factory=dict)
    without: tuple[str, ...] = ()
    opportunities: bool = False
    """Whether its delivery opportunities are to be had one by one; else what they are as rates."""
    host: str = ""
    module: str = ""

    @property
    def subject(self) -> str:
        """`radio.forward`, `host.phone`: who plays it."""
        if self.host or self.module:
            return f"host.{self.host}" if self.host else f"module.{self.module}"
        return f"{self.link}.{self.way}"

    def manner(self) -> Manner:
        """How it is played."""
        return Manner(
            loop=self.loop, offset_s=self.offset_s, scale=self.scale, without=self.without
        )

    def delivery(self) -> Delivery:
        """How its opportunities are had one by one; when it begins is for others to say."""
        return Delivery(
            trace=self.blob,
            offset_s=self.offset_s,
            stretch=self.scale.get("time", 1.0),
            scale=self.scale.get("rate_bps", 1.0),
            loop=self.loop,
        )


class TimelineEvent(Data, frozen=True):
    """One `[[events]]` table; the fields of `net.links.timeline.Event`."""

    at_s: float
    both: tuple[str, ...] = ()
    """Links to both of whose directions it happens."""
    forward: tuple[str, ...] = ()
    reverse: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()
    """Hosts to which it happens; then there are no links."""
    modules: tuple[str, ...] = ()
    """Modules to which it happens; then there are neither links nor hosts."""
    action: Literal["", "restart", "kill"] = ""
    """What is done to its modules, at each beginning."""
    when: Condition | None = None
    """It happens when that becomes so, and `at_s` is 0."""
    change: dict[str, Any] = msgspec.field(default_factory=dict)
    """Fields of `LinkSpec`; None: no longer asked for. Of hosts and modules `cpu`, `memory_bytes`
    and what disks do, of hosts `speed`, of modules `run`: those of `net.links.limits.Limits`."""
    reset: bool = False
    for_s: float | None = None
    every_s: float | None = None
    ramp_s: float = 0.0
    text: str = ""

    @property
    def key(self) -> str:
        """Names it, whatever comes before it in the file; the same for events that are the same.

        Also on all machines of a mesh, each of which knows what of it happens there.
        """
        return digest(encode(self.bare()))[:16]

    @property
    def targets(self) -> bool:
        """Whether anything of it happens on this machine."""
        return bool(self.both or self.forward or self.reverse or self.hosts or self.modules)

    def bare(self) -> TimelineEvent:
        """Without what it happens to."""
        return msgspec.structs.replace(self, both=(), forward=(), reverse=(), hosts=(), modules=())

    def timed(self, number: int, at_s: float | None = None) -> TimedEvent:
        """As the timeline takes it.

        Args:
            number: Its place in the file.
            at_s: Instead of its own.
        """
        values = {k: tuple(v) if isinstance(v, list) else v for k, v in self.change.items()}
        return TimedEvent(
            number=number,
            at_s=self.at_s if at_s is None else at_s,
            change=Change(values),
            reset=self.reset,
            action=self.action,
            for_s=self.for_s,
            every_s=self.every_s,
            ramp_s=self.ramp_s,
            text=self.text,
        )


class Move(Data, frozen=True):
    """A host comes into another cell: from then on its ways lead over that link."""

    at_s: float
    host: str
    link: str
    """Its own link to the cell's host."""
    middle: str = ""
    """The cell's host, where it or the one that moves is on another machine."""
    every_s: float | None = None


class TimelineSpec(Data, frozen=True):
    """All that changes by itself while a mesh runs, from its epoch on."""

    traces: tuple[TraceUse, ...] = ()
    events: tuple[TimelineEvent, ...] = ()
    moves: tuple[Move, ...] = ()
    """Later ones in the file win over those that begin at the same moment."""

    def links(self) -> set[str]:
        """Links that may be changed by it."""
        found = {use.link for use in self.traces if use.link}
        for event in self.events:
            found.update(event.both, event.forward, event.reverse)
        return found


class Lateness(Data, frozen=True):
    """How long after its time changes came into force, seconds; over all since the epoch."""

    changes: int = 0
    failed: int = 0
    passed: int = 0
    """That were over before they could be made: the next one of the same direction was due."""
    mean_s: float = 0.0
    p99_s: float = 0.0
    """Right within a tenth."""
    max_s: float = 0.0


class TimelineChange(Data, frozen=True):
    """A change of one direction, host or module, to come or made.

    Attributes:
        change: All that differs from the topology from then on; None: no longer asked for.
        host: Of a host; then there is no link.
        module: Of a module; likewise.
        applied_s: When it was in force; None: not yet, or it failed.
        error: Why it failed.
    """

    at_s: float
    change: dict[str, Any]
    link: str = ""
    source: str = ""
    target: str = ""
    host: str = ""
    module: str = ""
    applied_s: float | None = None
    error: str = ""


class ConditionStatus(Data, frozen=True):
    """A condition in the answer of `GET /v1/meshes/NAME/timeline`.

    Attributes:
        event: What happens then.
        when: The condition, as people read it.
        value: As it was when it was last looked at; None: nobody can tell.
        fired_s: When it last became true, from the epoch; None: never.
        fired: How often.
    """

    event: str
    when: str
    value: float | str | None = None
    fired_s: float | None = None
    fired: int = 0


class TimelineStatus(Data, frozen=True):
    """The answer of `GET /v1/meshes/NAME/timeline`."""

    mesh: str
    state: TimelineState
    position_s: float
    """Seconds since the epoch; where it is held."""
    epoch: float | None = None
    """The epoch, seconds since 1970; what was spent in pauses is not counted. None: not yet."""
    lead_s: float = 0.0
    """How long before its epoch this has to be known, for links to be told what is due then."""
    traces: int = 0
    events: int = 0
    lateness: Lateness = Lateness()
    last: tuple[TimelineChange, ...] = ()
    """The changes made last, newest last."""
    next: tuple[TimelineChange, ...] = ()
    """The changes to come."""
    conditions: tuple[ConditionStatus, ...] = ()
    """Those that events wait for."""
    problem: str = ""
    """Why it doesn't play, or not all of it."""
