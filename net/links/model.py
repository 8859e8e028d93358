"""One direction of a link as a function of packets, their times and a seed. Pure.

    offer ─► up? loss ─► duplicate, corrupt ─► queue, rate ─► delay, jitter ─► slots ─► take
                               (or opportunities, one by one) └─ reorder: overtakes ─┘

What comes out and when depends only on what was offered and asked for when, never on when one
looked: `offer`, `change` and `take` first bring the model up to their own time. Times never go
back. A change drops nothing: what is under way stays in its order and arrives, at the latest when
the new delay has passed; only `up=False` loses, and only what comes then.

Must not know: clocks, devices, where chance comes from.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable

from net.links import aqm, header, jitter, loss, queue
from net.links.cell import NEVER, Medium, Sender
from net.links.chance import Chances
from net.links.delivery import HEADER_BYTES, Opportunities, Schedule
from net.links.slots import Slots
from net.links.spec import LinkSpec
from net.links.tally import Tally

_PURPOSES = ("loss", "jitter", "duplicate", "corrupt", "reorder", "red", "slot")
ROOM_BYTES = 256 << 20
"""What one direction holds at most, queue and flight together: 5 s of 400 Mbit/s."""
KEEPING_BYTES = 180
"""What it costs to keep a packet beside its bytes: a flood of tiny ones fills memory with that."""
_NO_BYTE = 1e-6
"""Less than this is rounding."""


class Model(Sender):
    """One direction.

    Args:
        spec: What is asked of it.
        chances: Where its purposes draw from.
        start: Bytes before the IP header of each packet, which aren't counted.
        room_bytes: What it holds at most.
        schedule: Of the trace that `spec.delivery` names, if it does.
        shift_s: From seconds since boot, as in `spec`, to the caller's clock.

    Attributes:
        room_bytes: The same; whoever shares memory out may change it.
        tally: What became of packets.
        waiting_packets: In it now.
        waiting_bytes: Of those.
        medium: What it shares its sending time with; None: it sends whenever it has something.
    """

    def __init__(
        self,
        spec: LinkSpec,
        chances: Chances,
        *,
        start: int = 0,
        room_bytes: int = ROOM_BYTES,
        schedule: Schedule | None = None,
        shift_s: float = 0.0,
    ) -> None:
        self._start = start
        self._shift_s = shift_s
        self.room_bytes = room_bytes
        self.tally = Tally()
        self.waiting_packets = 0
        self.waiting_bytes = 0
        self.medium: Medium | None = None
        self._queue = aqm.Queue()
        self._serving: aqm.Waiting | None = None
        self._done_s = NEVER
        self._flight: deque[tuple[float, bytes]] = deque()
        self._last_s = -NEVER
        self._slots: Slots | None = None
        self._out: list[tuple[float, bytes]] = []
        self._settled = 0
        self._codel: aqm.Codel | None = None
        self._red: aqm.RedState | None = None
        self._opportunities: Opportunities | None = None
        self._left = 0.0
        self._spec = LinkSpec()
        self._draws = {purpose: chances(purpose) for purpose in _PURPOSES}
        self._set_loss(spec)
        self._set_flight(spec)
        self._set_delivery(spec, schedule)
        self._set_queue(spec)
        self._set_slots(spec)
        self._spec = spec

    @property
    def spec(self) -> LinkSpec:
        """What is asked of it now."""
        return self._spec

    @property
    def held_bytes(self) -> int:
        """How much of its room is taken."""
        return self.waiting_bytes + KEEPING_BYTES * self.waiting_packets

    # --- changes ----------------------------------------------------------------------------------

    def share(self, medium: Medium | None, now: float) -> None:
        """Send on a medium from now on; None: alone again. What is being sent begins anew there.

        It must have a rate while it shares one; `weight` counts at once.
        """
        if medium is self.medium:
            return
        self._advance(now)
        if self.medium is not None:
            self.medium.leave(self, now)
            self.medium = None
        if self._serving is not None:
            self._queue.unget(self._serving)
            self._serving, self._done_s = None, NEVER
        self.medium = medium
        if medium is not None:
            medium.join(self, now)
        elif len(self._queue):
            self._begin(now)

    def change(self, spec: LinkSpec, now: float, schedule: Schedule | None = None) -> None:
        """Ask for something else from now on."""
        self._advance(now)
        before = self._spec
        if _differs(before, spec, "loss_ratio", "loss_correlation", "loss_gilbert", "loss_markov"):
            self._set_loss(spec)
        old_rate, one_by_one = self._rate, self._opportunities is not None
        self._set_flight(spec)
        self._set_delivery(spec, schedule)
        self._set_queue(spec)
        if one_by_one or self._opportunities is not None:
            self._go_on(old_rate, now, one_by_one=one_by_one)
        else:
            self._rescale(old_rate, now)
        self._shorten(before, spec, now)
        if _differs(before, spec, "slot_s", "slot_bytes"):
            left = self._slots
            self._set_slots(spec, now)
            if left is not None:
                self._out_of_slots(left, now)
        self._spec = spec

    def reseed(self, chances: Chances) -> None:
        """Draw from elsewhere from now on, all that remembers what was drawn anew."""
        self._draws = {purpose: chances(purpose) for purpose in _PURPOSES}
        spec, self._spec = self._spec, LinkSpec()
        self._set_loss(spec)
        self._set_flight(spec)
        self._set_queue(spec)
        self._spec = spec
        if self._slots is not None:
            self._slots.draw = self._draws["slot"]

    def _set_loss(self, spec: LinkSpec) -> None:
        self._lost = loss.loss(spec, self._draws["loss"])

    def _set_flight(self, spec: LinkSpec) -> None:
        before, draws = self._spec, self._draws
        self._down = spec.up is False
        self._delay_s = spec.delay_s or 0.0
        self._duplicate = spec.duplicate_ratio or 0.0
        self._corrupt = spec.corrupt_ratio or 0.0
        jitters = ("jitter_s", "jitter_distribution", "jitter_table", "jitter_correlation")
        if _differs(before, spec, *jitters) or before == LinkSpec():
            self._deviation = jitter.deviation(spec, draws["jitter"])
        if _differs(before, spec, "reorder_ratio", "reorder_correlation") or before == LinkSpec():
            ratio, correlation = spec.reorder_ratio, spec.reorder_correlation
            self._overtakes = loss.chance(ratio, correlation, draws["reorder"])

    def _set_delivery(self, spec: LinkSpec, schedule: Schedule | None) -> None:
        if spec.delivery is None:
            self._opportunities = None
        elif spec.delivery != self._spec.delivery or self._opportunities is None:
            if schedule is None:
                raise ValueError("opportunities of a trace that isn't there")
            self._opportunities = Opportunities(schedule, spec.delivery, self._shift_s)

    def _set_queue(self, spec: LinkSpec) -> None:
        kept = ("queue_discipline", "queue_s", "queue_bytes", "queue_packets", "rate_bps")
        discipline = spec.queue_discipline if spec.rate_bps else None
        self._rate = spec.rate_bps
        self.weight = spec.medium_weight or 1.0
        self._overhead = spec.overhead_bytes or 0
        if self._opportunities is not None:
            self._overhead += HEADER_BYTES
        self._ecn = bool(spec.ecn)
        self._limit = queue.limit(spec)
        if discipline != "codel":
            self._codel = None
        elif self._codel is None:
            self._codel = aqm.Codel()
        if discipline != "red":
            self._red = None
        elif self._red is None or _differs(self._spec, spec, *kept):
            self._red = aqm.RedState(queue.red(spec), self._draws["red"])

    def _set_slots(self, spec: LinkSpec, now: float = 0.0) -> None:
        self._slots = None
        if spec.slot_s is not None:
            shortest, longest = spec.slot_s
            self._slots = Slots(
                shortest, longest, spec.slot_bytes, self._draws["slot"], now, self._start
            )

    def _rescale(self, old_rate: float | None, now: float) -> None:
        """What is being sent goes on at the new rate; without a rate all that waits leaves."""
        if self._serving is None or self._rate == old_rate:
            return
        if self._rate is not None and old_rate is not None:
            left_s = (self._done_s - now) * (old_rate / self._rate)
            if not math.isfinite(left_s):  # it was so slow that no clock reaches that far
                left_s = self._serving.cost * 8 / self._rate
            self._done_s = now + left_s
            if self.medium is not None:
                self.medium.reschedule(self, self._done_s, now)
            return
        self._let_all_go(now)

    def _let_all_go(self, now: float) -> None:
        one = self._serving or self._queue.get()
        self._serving, self._done_s = None, NEVER
        while one is not None:
            self._depart(one.packet, now)
            one = self._queue.get()

    def _go_on(self, old_rate: float | None, now: float, *, one_by_one: bool) -> None:
        """From a rate to opportunities or back: of what is being sent the same is left."""
        if self._opportunities is not None:
            self._opportunities.skip(now)  # it is another one, it may begin in the past
            if self._serving is not None and not one_by_one:
                self._left = max(1.0, (self._done_s - now) * (old_rate or 0.0) / 8)
                self._done_s = NEVER
        elif self._rate is None:
            self._let_all_go(now)
        elif self._serving is not None:
            self._done_s = now + self._left * 8 / self._rate
        elif len(self._queue):
            self._begin(now)

    def _shorten(self, before: LinkSpec, spec: LinkSpec, now: float) -> None:
        """Where the delay falls, nothing stays under way for longer than the new one."""
        if (before.delay_s or 0.0) <= self._delay_s or not self._flight:
            return
        latest = now + self._delay_s + (jitter.BOUND * spec.jitter_s if spec.jitter_s else 0.0)
        if self._last_s > latest:
            self._flight = deque((min(at, latest), packet) for at, packet in self._flight)
            self._last_s = latest

    # --- packets ----------------------------------------------------------------------------------

    def offer(self, packets: Iterable[bytes], now: float) -> None:
        """Packets that come in now, in order."""
        self._advance(now)
        if len(self._out) > self._settled:
            self._settle()
        lost, rate, corrupt = self._lost, self._rate, self._corrupt
        duplicate, start = self._duplicate, self._start
        room, keeping = self.room_bytes - KEEPING_BYTES, KEEPING_BYTES
        tally = self.tally
        for packet in packets:
            if self._down:
                tally.drop("down")
                continue
            if lost is not None and lost():
                tally.drop("loss")
                continue
            copies = 1
            if duplicate and self._draws["duplicate"]() < duplicate:
                tally.duplicated += 1
                copies = 2
            if corrupt and self._draws["corrupt"]() < corrupt:
                tally.corrupted += 1
                packet = header.with_wrong_bit(packet, self._draws["corrupt"](), start)
            for _ in range(copies):
                size = len(packet) - start
                if self.waiting_bytes + keeping * self.waiting_packets + size > room:
                    tally.drop("room")
                    continue
                if rate is not None:
                    self._enqueue(packet, size, rate, now)
                    continue
                self.waiting_packets += 1
                self.waiting_bytes += size
                self._depart(packet, now)

    def take(self, now: float) -> list[tuple[float, bytes]]:
        """Packets that have arrived by now, in order, each with the time at which it did."""
        self._advance(now)
        out = self._out
        if out:
            self._settle()
            self._out, self._settled = [], 0
        return out

    def _settle(self) -> None:
        """Count what has arrived."""
        fresh = self._out[self._settled :] if self._settled else self._out
        size = sum([len(packet) for _, packet in fresh]) - self._start * len(fresh)
        self.tally.packets += len(fresh)
        self.tally.bytes += size
        self.waiting_packets -= len(fresh)
        self.waiting_bytes -= size
        self._settled = len(self._out)

    @property
    def next_s(self) -> float:
        """When to `take` again; NEVER: there is nothing to come, -NEVER: at once."""
        if self._out:
            return -NEVER
        first = NEVER if self._slots is None else self._slots.next_s
        if self._flight:
            first = min(first, self._flight[0][0])
        if self._serving is not None:
            early = self._deviation is not None or self._overtakes is not None
            early = early or self.medium is not None  # others wait for it to have sent
            first = min(first, self._done_s if early else self._done_s + self._delay_s)
        if self._opportunities is not None and (self._serving is not None or len(self._queue)):
            following = self._opportunities.next_s
            early = self._deviation is not None or self._overtakes is not None
            first = min(first, following if early else following + self._delay_s)
        return first

    # --- the queue --------------------------------------------------------------------------------

    def _enqueue(self, packet: bytes, size: int, rate: float, now: float) -> None:
        cost = max(1, size + self._overhead)
        waiting, limit = self._queue, self._limit
        if self._red is not None and self._red.hits(waiting.bytes, rate, now):
            changed = header.marked(packet, self._start) if self._ecn else None
            if changed is None:
                self.tally.drop("aqm")
                return
            self.tally.marked += 1
            packet = changed
        self.waiting_packets += 1
        self.waiting_bytes += size
        one = aqm.Waiting(packet, cost, now)
        if self._opportunities is not None and self._serving is None and not len(waiting):
            waiting.put(one)
        elif self._serving is None and self.medium is None and self._opportunities is None:
            waiting.put(one)
            self._begin(now)
        elif (limit.bytes is not None and waiting.bytes + cost > limit.bytes) or (
            limit.packets is not None and len(waiting) >= limit.packets
        ):
            self._discard(one, "queue")
        else:
            waiting.put(one)
            if self.medium is not None:
                self.medium.want(self, now)

    def _discard(self, one: aqm.Waiting, cause: str) -> None:
        self.tally.drop(cause)
        self.waiting_packets -= 1
        self.waiting_bytes -= len(one.packet) - self._start

    def _begin(self, now: float) -> None:
        """Start to send the next of those that wait."""
        one = self._queue.get() if self._codel is None else self._picked(self._codel, now)
        self._serving = one
        if one is None or self._rate is None:
            self._done_s = NEVER
            if self._red is not None:
                self._red.emptied(now)
        elif self._opportunities is not None:
            self._left, self._done_s = float(one.cost), NEVER
        else:
            self._done_s = now + one.cost * 8 / self._rate

    def _use_opportunities(self, now: float, chances: Opportunities) -> None:
        """Let pass what the opportunities up to and at `now` let pass."""
        while chances.next_s <= now:
            if self._serving is None and not len(self._queue):
                chances.skip(now)
                return
            at, left = chances.next_s, chances.use()
            while left > _NO_BYTE and (self._serving is not None or len(self._queue)):
                if self._serving is None:
                    self._begin(at)
                    continue  # the discipline may have dropped them all
                part = min(left, self._left)
                left, self._left = left - part, self._left - part
                if self._left <= _NO_BYTE:
                    one, self._serving = self._serving, None
                    self._depart(one.packet, at)
                    if self._red is not None and not len(self._queue):
                        self._red.emptied(at)

    # --- on a shared medium: as it says -----------------------------------------------------------

    @property
    def waits(self) -> bool:
        """Whether packets wait to be sent."""
        return len(self._queue) > 0

    def start(self, now: float) -> float:
        """Begin to send the next; how long that takes."""
        self._begin(now)
        one, rate = self._serving, self._rate
        return one.cost * 8 / rate if one is not None and rate is not None else 0.0

    def finish(self, at: float) -> None:
        """It has been sent."""
        one = self._serving
        assert one is not None
        self._serving, self._done_s = None, NEVER
        if self._red is not None and not len(self._queue):
            self._red.emptied(at)
        self._depart(one.packet, at)

    def _picked(self, codel: aqm.Codel, now: float) -> aqm.Waiting | None:
        while True:
            hit = codel.pick(self._queue, now, ecn=self._ecn)
            for one in hit.dropped:
                self._discard(one, "aqm")
            if not hit.marks or hit.next is None:
                return hit.next
            changed = header.marked(hit.next.packet, self._start)
            if changed is not None:
                self.tally.marked += 1
                return hit.next._replace(packet=changed)
            self._discard(hit.next, "aqm")

    # --- under way --------------------------------------------------------------------------------

    def _depart(self, packet: bytes, now: float) -> None:
        """A packet leaves the queue."""
        if self._overtakes is not None and self._overtakes():
            self._land(now)
            self._arrive(now, packet)
            return
        delay_s = self._delay_s
        if self._deviation is not None:
            delay_s = max(0.0, delay_s + self._deviation())
        at = max(self._last_s, now + delay_s)
        self._last_s = at
        if at <= now and self._slots is None and not self._flight:
            self._out.append((at, packet))
        else:
            self._flight.append((at, packet))

    def _advance(self, now: float) -> None:
        """Do all that happens up to and at `now`."""
        if self.medium is not None:
            self.medium.advance(now)
        if self._opportunities is not None:
            self._use_opportunities(now, self._opportunities)
        while self._done_s <= now:
            one, at = self._serving, self._done_s
            assert one is not None
            self._depart(one.packet, at)
            self._begin(at)
        self._land(now)
        if self._slots is not None and self._slots.next_s <= now:
            self._out += self._slots.open(now)

    def _land(self, now: float) -> None:
        """Those whose delay has passed arrive."""
        flight = self._flight
        if self._slots is None:
            out = self._out
            while flight and flight[0][0] <= now:
                out.append(flight.popleft())
        else:
            while flight and flight[0][0] <= now:
                at, packet = flight.popleft()
                self._arrive(at, packet)

    def _arrive(self, at: float, packet: bytes) -> None:
        if self._slots is None:
            self._out.append((at, packet))
        else:
            self._out += self._slots.open(at)
            self._slots.put(packet, at)

    def _out_of_slots(self, left: Slots, now: float) -> None:
        """Those that waited for a slot of before."""
        for packet in left.close():
            self._arrive(now, packet)


def _differs(one: LinkSpec, other: LinkSpec, *names: str) -> bool:
    return any(getattr(one, name) != getattr(other, name) for name in names)
