"""When a mesh's epoch was and whether its timeline plays; over the agent's lives. Pure.

    waiting ──all modules ready──► running ◄──start── paused
       │                            │  └──pause──────────▲
       └──────────reset──────► held ◄──reset             (start leads from waiting and held, too)

While it runs, the moment of its zero is kept by two clocks: seconds since boot hold whatever is
done to the wall clock; the wall clock holds over a reboot. While it doesn't, its position is. That
moment may be to come, so that whoever makes changes can be told before it what is due then.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import msgspec

from otter_agent.api import TimelineOrder, TimelineState
from otter_agent.links.leases import Moment


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """What is kept.

    Attributes:
        zero: While it runs: when its position was 0, pauses left out.
        position_s: While it doesn't: where it stands. While it does: from where it goes on.
    """

    state: TimelineState = "waiting"
    zero: Moment | None = None
    position_s: float = 0.0

    def position(self, now: Moment) -> float:
        """Seconds since the epoch, pauses left out; never negative."""
        return max(self.position_s, self.reached(now))

    def reached(self, now: Moment) -> float:
        """The same; less than that as long as the moment at which it goes on is to come."""
        return self.position_s if self.zero is None else -now.until(self.zero)

    @property
    def begun(self) -> bool:
        """Whether its epoch is known."""
        return self.state in ("running", "paused")

    def holds(self, now: Moment) -> bool:
        """Whether anything of it holds: before its epoch nothing does, not even what is at 0."""
        return self.begun and (self.position_s > 0 or self.reached(now) >= 0)

    def ordered(self, order: TimelineOrder, now: Moment) -> Kept:
        """After an order; the same if it is so already."""
        if order == "start" and self.state != "running":
            zero = now.after(-self.position_s)
            return Kept(state="running", zero=zero, position_s=self.position_s)
        if order == "pause" and self.state in ("waiting", "running"):
            if not self.holds(now):
                return Kept(state="held")
            return Kept(state="paused", position_s=self.position(now))
        return Kept(state="held") if order == "reset" else self

    def all_ready(self, epoch: Moment) -> Kept:
        """All modules are ready: this is the epoch, unless it was or is held."""
        return self.ordered("start", epoch) if self.state == "waiting" else self

    def anchored(self, now: Moment) -> Kept:
        """The same position by the clocks of this boot."""
        if self.zero is None or self.zero.boot == now.boot:
            return self
        return replace(self, zero=now.after(-self.position(now)))


def encode(kept: Kept) -> bytes:
    """To be kept."""
    return msgspec.json.encode(kept)


def decode(data: bytes | None) -> Kept:
    """What was kept; None: nothing yet."""
    return Kept() if data is None else msgspec.json.decode(data, type=Kept)
