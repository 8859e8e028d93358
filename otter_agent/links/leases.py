"""What was changed of a direction by hand: for good, or for a time. Pure.

    lasting        ─┐
    lease (ends) ─┐ ├─► change()     a later one wins, what ended is as if it had never been
    lease (ends) ─┴─┘

A lease's end is kept by two clocks: seconds since boot hold whatever is done to the wall clock; the
wall clock holds over a reboot. Must not know: which direction, how it is stored, any clock.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import msgspec

from net.links.changes import Change
from net.links.spec import Value

MOST = 64
"""Of one direction, beside each other: each is shorter than the one before."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """A moment by both clocks.

    Attributes:
        boot: Which boot `boot_s` is of.
        boot_s: Seconds since then (CLOCK_BOOTTIME).
        wall_s: Seconds since 1970.
    """

    boot: str
    boot_s: float
    wall_s: float

    def after(self, seconds: float) -> Moment:
        """So much later."""
        return Moment(boot=self.boot, boot_s=self.boot_s + seconds, wall_s=self.wall_s + seconds)

    def until(self, end: Moment) -> float:
        """Seconds to go; negative: it has passed."""
        return end.boot_s - self.boot_s if end.boot == self.boot else end.wall_s - self.wall_s


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """A change that ends by itself."""

    change: Change
    end: Moment


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """All that was changed of one direction by hand."""

    lasting: Change = field(default_factory=Change)
    leases: tuple[Lease, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.lasting) or bool(self.leases)

    def asked(self, change: Change, end: Moment | None, now: Moment) -> Shape:
        """With one more change, until `end`; None: until it is reset."""
        if not change:
            return self.at(now)
        kept = []
        for lease in self.at(now).leases:
            # What ends no later than this can't come to the fore again.
            hidden = end is None or now.until(lease.end) <= now.until(end)
            left = lease.change.without(change.values) if hidden else lease.change
            if left:
                kept.append(replace(lease, change=left))
        if end is None:
            return Shape(lasting=self.lasting.then(change), leases=tuple(kept))
        return Shape(lasting=self.lasting, leases=(*kept, Lease(change=change, end=end)))

    def at(self, now: Moment) -> Shape:
        """Without what has ended by now."""
        left = tuple(lease for lease in self.leases if now.until(lease.end) > 0)
        return self if len(left) == len(self.leases) else replace(self, leases=left)

    def change(self) -> Change:
        """All of it together."""
        whole = self.lasting
        for lease in self.leases:
            whole = whole.then(lease.change)
        return whole

    def ended(self, now: Moment) -> Change:
        """What has ended by now."""
        whole = Change()
        for lease in self.leases:
            whole = whole if now.until(lease.end) > 0 else whole.then(lease.change)
        return whole

    def next_end(self, now: Moment) -> float | None:
        """Seconds until the next lease ends; None: there is none."""
        return min((now.until(lease.end) for lease in self.leases), default=None)


# --- kept as JSON -----------------------------------------------------------------------------


def encode(shape: Shape) -> bytes:
    """To be kept."""
    return msgspec.json.encode(
        {
            "lasting": dict(shape.lasting.values),
            "leases": [
                {
                    "values": dict(lease.change.values),
                    "boot": lease.end.boot,
                    "boot_s": lease.end.boot_s,
                    "wall_s": lease.end.wall_s,
                }
                for lease in shape.leases
            ],
        }
    )


def decode(data: bytes) -> Shape:
    """What was kept."""
    kept = msgspec.json.decode(data)
    leases = tuple(
        Lease(
            change=_change(one["values"]),
            end=Moment(boot=one["boot"], boot_s=one["boot_s"], wall_s=one["wall_s"]),
        )
        for one in kept["leases"]
    )
    return Shape(lasting=_change(kept["lasting"]), leases=leases)


def _change(values: dict[str, Value | list[float] | None]) -> Change:
    return Change({k: tuple(v) if isinstance(v, list) else v for k, v in values.items()})
