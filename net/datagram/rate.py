"""How fast to send: a model of the path, from what its receiver reports. Pure: `now` passed in.

After BBR (Cardwell et al., ACM Queue 14(5), 2016): the path carries as much as it delivered at best
in the last rounds, with the least round trip of the last seconds; the sender sends at that rate,
now and then a quarter more, and never has more than twice their product under way. So lost
datagrams alone slow nobody down, and queues stay short. Unlike there, what is delivered is
measured by the receiver's clock, between two moments without a pause in between: a message that
is over within a round trip says as much about the path as a long transfer does.

    startup (twice as fast each round) ─► drain ─► probe: 1.25, 0.75, 1, 1, 1, 1, 1, 1, 1.25 …

What is under way is also bounded by the window that the receiver states: a share of its socket's
buffer, so that nothing is lost there. Must not know: asyncio, sockets, fragments.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

STARTUP_GAIN = 2.0
_CYCLE = (1.25, 0.75, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0)
_SAMPLES = 40
"""How many measurements the best delivery rate counts for: four in a round trip."""
_MIN_RTT_S = 10.0
"""How long the least round trip counts."""
_FIRST_BYTES = 32 * 1024
"""What goes out in the first round trip, before the gain; TCP begins with 14 KB."""
_SLACK_S, _SLACK_BYTES = 0.010, 16 * 1024
"""What may be under way beyond twice the path's content, as time at the path's rate: receivers take
what comes in batches, when they get the processor."""
_LEAST_BYTES_PER_S = 16e3
_BURST_S = 0.004
"""What goes out at a time: timers are late by about 1 ms."""
_SHORTEST_S = 0.002
"""Least time to measure a rate over."""
_MORE = 1.05
"""Delivered at more than this times the best so far: there is room."""
_SQUEEZED = 0.75
"""Delivered at less than this part of the rate that was aimed at: the path is full."""


@dataclass(slots=True)
class _Sent:
    """A burst.

    Attributes:
        packet: Number of its last datagram.
        total_bytes: Sent up to its end.
        at: When it left.
        rate: Bytes/s that were aimed at then.
        paused: Whether nothing had left for a while before it.
    """

    packet: int
    total_bytes: int
    at: float
    rate: float
    paused: bool


@dataclass(frozen=True, slots=True)
class _Mark:
    """Where a measurement begins."""

    sent: float
    sent_bytes: int
    received_bytes: int
    arrived_us: int


class Rate:
    """Of one session.

    Args:
        rate_bps: Bit/s to send at; 0: what the path carries.
        rtt_s: First round trip seen.
    """

    def __init__(self, rate_bps: float, rtt_s: float, now: float) -> None:
        self.rtt_s = self.smooth_s = max(rtt_s, 1e-6)
        self.window_bytes = _FIRST_BYTES
        self._fixed = rate_bps / 8
        self._min_rtt_at = now
        self._best = _FIRST_BYTES / max(rtt_s, 1e-4)
        self._samples: deque[tuple[int, float]] = deque()
        self._count = 0
        self._mark: _Mark | None = None
        self._phase = "startup"
        self._squeezed = 0
        self._cycle_at, self._cycle, self._steps = now, 0, 0
        self._sent: deque[_Sent] = deque()
        self._sent_bytes = self._acked_bytes = 0
        self._tokens, self._tokens_at = 0.0, now - 1.0
        self._paused = True

    @property
    def bytes_per_s(self) -> float:
        """At which to send now."""
        if self._fixed:
            return self._fixed
        gain = {"startup": STARTUP_GAIN, "drain": 1 / STARTUP_GAIN}.get(self._phase)
        return max(self._best * (_CYCLE[self._cycle] if gain is None else gain), _LEAST_BYTES_PER_S)

    @property
    def in_flight(self) -> int:
        """Bytes sent and not yet heard of."""
        return self._sent_bytes - self._acked_bytes

    def allowance(self, now: float) -> int:
        """Bytes that may be sent now; may be negative."""
        rate = self.bytes_per_s
        most = max(rate * _BURST_S, 3000.0)
        self._tokens += rate * (now - self._tokens_at)
        self._tokens_at = now
        if self._tokens > most:
            self._tokens = most
            self._paused = True
        return int(min(self._tokens, self._room()))

    def _room(self) -> int:
        """How much more may be under way: what the path holds, and of the window what is wise."""
        path = self.bytes_per_s * self.rtt_s
        waiting: float = self.window_bytes
        if not self._fixed and self._phase != "startup":
            slack = max(self._best * _SLACK_S, _SLACK_BYTES)
            waiting = min(waiting, self._best * self.rtt_s + slack)
        return int(path + waiting) - self.in_flight

    def wait_s(self, now: float) -> float:
        """How long until something may be sent; 0 if only a report can bring that about."""
        self.allowance(now)
        return -self._tokens / self.bytes_per_s + 1e-5 if self._tokens <= 0 else 0.0

    def sent(self, packet: int, nbytes: int, now: float) -> None:
        """A burst left, up to a packet number."""
        self._sent_bytes += nbytes
        self._tokens -= nbytes
        self._sent.append(_Sent(packet, self._sent_bytes, now, self.bytes_per_s, self._paused))
        self._paused = False

    def report(
        self, largest: int, received_bytes: int, held_us: int, arrived_us: int, now: float
    ) -> None:
        """What the receiver says has come.

        Args:
            largest: Highest packet number.
            received_bytes: So far.
            held_us: Microseconds since that packet came.
            arrived_us: When it came, by the receiver's clock; counts up to 2^32.
            now: Time.
        """
        newest: _Sent | None = None
        while self._sent and self._sent[0].packet <= largest:
            newest = self._sent.popleft()
            if newest.paused:
                self._mark = None
        if newest is None:
            return
        self._acked_bytes = newest.total_bytes
        self._note_rtt(max(now - newest.at - held_us * 1e-6, 1e-6), now)
        self._measure(newest, received_bytes, arrived_us)
        self._turn(now)

    def forget(self) -> None:
        """Nothing was heard for long: what was under way is gone."""
        self._sent.clear()
        self._acked_bytes = self._sent_bytes
        self._mark = None

    def _note_rtt(self, rtt_s: float, now: float) -> None:
        self.smooth_s += (rtt_s - self.smooth_s) / 8
        if rtt_s < self.rtt_s and not self._samples:  # the greeting had to wait for something
            self._best = max(self._best, _FIRST_BYTES / max(rtt_s, 1e-4))
        if rtt_s <= self.rtt_s or now - self._min_rtt_at > _MIN_RTT_S:
            self.rtt_s, self._min_rtt_at = rtt_s, now

    def _measure(self, newest: _Sent, received_bytes: int, arrived_us: int) -> None:
        mark = self._mark
        here = _Mark(newest.at, newest.total_bytes, received_bytes, arrived_us)
        if mark is None:
            self._mark = here
            return
        arriving_s = ((arrived_us - mark.arrived_us) & 0xFFFFFFFF) * 1e-6
        leaving_s = newest.at - mark.sent
        if max(arriving_s, leaving_s) < max(self.rtt_s / 4, _SHORTEST_S):
            return
        self._mark = here
        arrived = received_bytes - mark.received_bytes
        sample = arrived / max(arriving_s, leaving_s)
        self._squeezed = self._squeezed + 1 if sample < _SQUEEZED * newest.rate else 0
        if self._phase == "probe" and self._cycle == 0 and sample > _MORE * self._best:
            self._steps = 0  # it carries more: go on from there
        else:
            self._steps += 1
        self._note_sample(sample)

    def _note_sample(self, sample: float) -> None:
        self._count += 1
        while self._samples and self._samples[-1][1] <= sample:
            self._samples.pop()
        self._samples.append((self._count, sample))
        while self._samples[0][0] <= self._count - _SAMPLES:
            self._samples.popleft()
        best = max(self._samples[0][1], _LEAST_BYTES_PER_S)
        if self._phase == "startup" and not self._squeezed:
            best = max(best, self._best)  # it is only found out yet
        self._best = best

    def _turn(self, now: float) -> None:
        if self._phase == "startup" and self._squeezed >= 3:
            self._phase = "drain"
        if self._phase == "drain" and self.in_flight <= self._best * self.rtt_s + _FIRST_BYTES:
            self._phase, self._cycle_at, self._cycle, self._steps = "probe", now, 2, 0
        # At least two measurements: the first is in part of what was before.
        long_enough = now - self._cycle_at > max(self.rtt_s, _SHORTEST_S) and self._steps >= 2
        if self._phase == "probe" and long_enough:
            self._cycle, self._cycle_at = (self._cycle + 1) % len(_CYCLE), now
            self._steps = 0
