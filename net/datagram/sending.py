"""The sending end of one session: messages in, datagrams out. Pure: `now` passed in.

    greeting ── challenge, accept ──► open ── finish ──► ending ── ended ──► ended
       └─ refuse ─► refused  └── silence, gone ──► lost: the shell greets anew, as another session

Fragments of one message leave in order, paced; what is asked for again goes first. Must not know:
asyncio, sockets, what messages hold.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import Enum

import numpy as np

from net.datagram import control
from net.datagram.counters import SentCounters
from net.datagram.fragment import (
    ACCEPT,
    CHALLENGE,
    ENDED,
    GONE,
    IP_UDP_BYTES,
    MAX_DATAGRAM,
    REFUSE,
    REPORT,
    shape_of,
    size_for,
)
from net.datagram.options import MAX_RETAINED_BYTES, MIN_MTU_BYTES, Options
from net.datagram.outgoing import Buffer, Outgoing
from net.datagram.rate import Rate
from net.errors import LocalWireError, MessageTooLarge, RemoteWireError

BATCH_BYTES = 65000
"""Most that the kernel takes as one batch of datagrams (GSO): one IP packet's worth."""
BATCH_DATAGRAMS = 64
"""UDP_MAX_SEGMENTS before Linux 6.9."""
TURN_BYTES = 512 * 1024
"""Most that leaves before other tasks get a turn."""
KEEP_ALIVE_S = 1.0
DEAD_S = 5.0
"""Silence after which the other end is given up."""
_FIRST_HELLO_S, _LONGEST_HELLO_S = 0.05, 0.5
_LEAST_DATAGRAM = MIN_MTU_BYTES - IP_UDP_BYTES
_IPV6_LEAST = 1252
"""Datagram of the 1,280 bytes that tunnels usually leave."""


class State(Enum):
    """Where a session stands."""

    GREETING = "greeting"
    OPEN = "open"
    ENDING = "ending"
    ENDED = "ended"
    REFUSED = "refused"
    LOST = "lost"


@dataclass(frozen=True, slots=True)
class Burst:
    """Datagrams to be sent with one call.

    Attributes:
        buffers: Their bytes, one after the other.
        segment: Length of each but the last; 0: it is one datagram.
    """

    buffers: Sequence[Buffer]
    segment: int = 0


class Sending:
    """One session.

    Args:
        session: Its number, that nobody can guess.
        greeting: What to say first.
        options: What the stream is asked for.
        mtu_bytes: Largest IP packet that the first hop takes.

    Attributes:
        state: Where it stands.
        reason: Why it was refused.
        counters: What was done.
        sent: All messages up to this number have left, or were given up.
        batch: Whether many datagrams may be sent with one call.
        heard: When the receiver last said how things stand.
    """

    def __init__(
        self, session: int, greeting: control.Greeting, options: Options, mtu_bytes: int, now: float
    ) -> None:
        self.session, self.state, self.reason = session, State.GREETING, ""
        self.counters = SentCounters()
        self.sent = 0
        self.batch = options.batch
        self._greeting, self._options = greeting, options
        self._datagram = min(mtu_bytes - IP_UDP_BYTES, MAX_DATAGRAM)
        self._size = 0
        self._limit = 0
        self._number = 0
        self._packet = 0
        self._queue: deque[Outgoing] = deque()
        self._kept: dict[int, Outgoing] = {}
        self._kept_bytes = 0
        self._again: deque[tuple[int, int]] = deque()
        self._asked: set[tuple[int, int]] = set()
        self._rate = Rate(options.rate_bps, 0.0, now)
        self._open_window = True
        self._last_report = 0
        self.heard = now
        self._quiet_since = now
        self._probes = 0
        self._hellos, self._hello_at, self._hello_sent = 0, now, now
        self._ends, self._end_at = 0, now

    # --- what the shell asks for -----------------------------------------------------------------

    def submit(self, buffers: Sequence[Buffer], now: float) -> int:
        """A message that shall leave; its number.

        Raises:
            MessageTooLarge: The receiver doesn't take it.
        """
        length = sum(len(buffer) for buffer in buffers)
        if self.state is not State.OPEN:
            raise LocalWireError(f"a message for a session that is {self.state.value}")
        if length > self._limit:
            raise MessageTooLarge(length, self._limit)
        self._number += 1
        shape = shape_of(length, self._size, self._options.fec_ratio)
        expires = float("inf")  # its time begins with its first fragment
        self._queue.append(Outgoing(self.session, self._number, shape, buffers, expires))
        return self._number

    def finish(self, now: float) -> None:
        """Nothing more will be submitted."""
        if self.state is State.OPEN:
            self.state, self._end_at = State.ENDING, now

    def narrow(self, mtu_bytes: int) -> None:
        """The path takes smaller packets than thought: what is cut for larger ones is lost."""
        self._datagram = min(self._datagram, max(mtu_bytes, MIN_MTU_BYTES) - IP_UDP_BYTES)
        self._size = min(self._size, size_for(self._datagram + IP_UDP_BYTES))
        while self._queue and self._queue[0].shape.size > self._size:
            self.sent = self._queue.popleft().number
            self.counters.expired += 1

    @property
    def busy(self) -> bool:
        """Whether a message that was submitted has not yet left, wholly."""
        return bool(self._queue)

    @property
    def limit_bytes(self) -> int:
        """Largest message that the receiver takes; 0: it hasn't said yet."""
        return self._limit

    @property
    def rtt_s(self) -> float:
        """Round trip, smoothed; 0: unknown."""
        return self._rate.smooth_s

    @property
    def rate_bps(self) -> float:
        """At which it sends."""
        return 8 * self._rate.bytes_per_s

    # --- datagrams in ----------------------------------------------------------------------------

    def receive(self, data: bytes, now: float) -> None:
        """A datagram from the receiver.

        Raises:
            RemoteWireError: It makes no sense.
        """
        kind, session = control.read_prefix(data)
        if session != self.session:
            return
        if kind == REPORT and self.state in (State.OPEN, State.ENDING):
            self._on_report(control.read_report(data), now)
        elif kind == ACCEPT and self.state is State.GREETING:
            self._on_accept(control.read_accept(data), now)
        elif kind == CHALLENGE and self.state is State.GREETING:
            self._on_challenge(*control.read_challenge(data), now)
        elif kind == REFUSE:
            self.state, self.reason = State.REFUSED, control.read_refuse(data)
        elif kind == ENDED and self.state is State.ENDING:
            self.state = State.ENDED
        elif kind == GONE and self.state in (State.OPEN, State.ENDING):
            self.lose()
        elif kind not in (REPORT, ACCEPT, ENDED, GONE, CHALLENGE):
            raise RemoteWireError(f"a datagram of kind {kind} from a receiver")

    def lose(self) -> None:
        """The other end is gone, and with it what was under way."""
        self.state = State.LOST
        self.counters.expired += len(self._queue) + len(self._kept)
        self._queue.clear()
        self._kept.clear()
        self._again.clear()
        self.sent = self._number

    def _on_challenge(self, token: bytes, datagram_bytes: int, now: float) -> None:
        """Say hello again at once, as large as one that came."""
        if token != self._greeting.token:  # not one that answers a repeated hello
            self._greeting = replace(self._greeting, token=token)
            self._datagram = min(self._datagram, max(datagram_bytes, _LEAST_DATAGRAM))
            self._hellos, self._hello_at = 0, now

    def _on_accept(self, accepted: control.Accepted, now: float) -> None:
        self.state, self.heard, self._quiet_since = State.OPEN, now, now
        self._limit = accepted.limit_bytes
        self._datagram = min(self._datagram, accepted.datagram_bytes)
        self._size = size_for(self._datagram + IP_UDP_BYTES)
        # Of a repeated hello nobody knows which one was answered: the last gives the least round
        # trip, which a report will correct, and with it the rate to begin with.
        self._rate = Rate(self._options.rate_bps, max(now - self._hello_sent, 1e-6), now)
        self._rate.window_bytes = accepted.window_bytes

    def _on_report(self, report: control.Report, now: float) -> None:
        if report.number <= self._last_report:
            return
        self._last_report, self.heard = report.number, now
        self._open_window = report.window_bytes > 0
        if self._open_window:
            self._rate.window_bytes = report.window_bytes
        self._rate.report(
            report.largest, report.received_bytes, report.held_us, report.arrived_us, now
        )
        self.counters.lost = report.given_up
        self.counters.undelivered = max(0, report.largest - report.datagrams)
        self._drop_done(report)
        for missing in report.missing:
            self._ask(missing)

    def _drop_done(self, report: control.Report) -> None:
        done = [number for number in self._kept if number <= report.floor]
        if report.done:
            bits = np.flatnonzero(np.unpackbits(np.frombuffer(report.done, np.uint8)))
            done += [n for n in (bits + report.floor + 1).tolist() if n in self._kept]
        for number in done:
            self._drop(number)
        if done:
            self._probes = 0

    def _drop(self, number: int) -> None:
        self._kept_bytes -= self._kept.pop(number).nbytes

    def _ask(self, missing: control.Missing) -> None:
        message = self._kept.get(missing.message)
        if message is None:
            return
        if missing.bits:
            bits = np.flatnonzero(np.unpackbits(np.frombuffer(missing.bits, np.uint8)))
            indices = (bits + missing.base).tolist()
        else:
            indices = list(range(message.shape.count))
        for index in indices:
            wish = (missing.message, index)
            if index < message.shape.count and wish not in self._asked:
                self._asked.add(wish)
                self._again.append(wish)

    # --- datagrams out ---------------------------------------------------------------------------

    def poll(self, now: float) -> list[Burst]:
        """What shall leave now."""
        if self.state is State.GREETING:
            return self._greet(now)
        if self.state not in (State.OPEN, State.ENDING):
            return []
        if now - self.heard > DEAD_S:
            self.lose()
            return []
        self._expire(now)
        bursts = self._fragments(now)
        if self.state is State.ENDING and not self._queue and self._end_at <= now:
            self._end_at = now + min(max(2 * self.rtt_s, 0.02) * 2**self._ends, 0.5)
            self._ends += 1
            bursts.append(Burst([control.end(self.session, self._number)]))
        if self._probe_at <= now:
            self._probes += 1
            if self._probes == 4:
                self._rate.forget()
            self._packet += 1
            bursts.append(Burst([control.probe(self.session, self._packet, self.sent)]))
            self._rate.sent(self._packet, 0, now)
            self._quiet_since = now
        return bursts

    def _greet(self, now: float) -> list[Burst]:
        if now < self._hello_at:
            return []
        sizes = (self._datagram,) * 3 + (_IPV6_LEAST, _LEAST_DATAGRAM)
        size = min(sizes[self._hellos % len(sizes)], self._datagram)
        self._hello_at = now + min(_FIRST_HELLO_S * 2**self._hellos, _LONGEST_HELLO_S)
        self._hellos += 1
        self._hello_sent = now
        return [Burst([control.hello(self.session, self._greeting, size)])]

    def _expire(self, now: float) -> None:
        while self._queue and self._queue[0].expires <= now:
            self.sent = self._queue.popleft().number
            self.counters.expired += 1
        while self._kept:
            number = next(iter(self._kept))
            if self._kept[number].expires > now and self._kept_bytes <= MAX_RETAINED_BYTES:
                break
            self._drop(number)

    def _fragments(self, now: float) -> list[Burst]:
        bursts: list[Burst] = []
        allowance = min(self._rate.allowance(now), TURN_BYTES)
        sent_us, rtt = int(now * 1e6) & 0xFFFFFFFF, min(int(self.rtt_s * 1e4), 65535)
        while allowance > 0 and (self._again or self._ready):
            burst = self._resend(allowance, sent_us, rtt) or self._send_next(
                allowance, sent_us, rtt, now
            )
            if burst is None:
                continue  # what was asked for is no longer kept
            nbytes = sum(len(buffer) for buffer in burst.buffers)
            allowance -= nbytes
            self.counters.bytes += nbytes
            self._rate.sent(self._packet, nbytes, now)
            self._quiet_since, self._probes = now, 0
            bursts.append(burst)
        return bursts

    @property
    def _ready(self) -> bool:
        """Whether there is a message to go on with, or to begin."""
        return bool(self._queue) and (self._open_window or self._queue[0].next > 0)

    def _batch(self, allowance: int, stride: int) -> int:
        """How many datagrams may be sent at once."""
        if not self.batch:
            return 1
        return max(1, min(BATCH_DATAGRAMS, BATCH_BYTES // stride, allowance // stride))

    def _send_next(self, allowance: int, sent_us: int, rtt: int, now: float) -> Burst | None:
        if not self._ready:
            return None
        message = self._queue[0]
        if message.next == 0:
            message.expires = now + self._options.deadline_s
        most = self._batch(allowance, message.stride)
        first = message.next
        rows, count = message.take(most, self._packet + 1, sent_us, rtt)
        self._packet += count
        self.counters.datagrams += count
        self.counters.parity += max(0, message.next - max(first, message.shape.count))
        if message.sent:
            self._queue.popleft()
            self.sent = message.number
            self.counters.messages += 1
            if self._options.retransmit:
                self._kept[message.number] = message
                self._kept_bytes += message.nbytes
        return Burst([rows], message.stride if count > 1 else 0)

    def _resend(self, allowance: int, sent_us: int, rtt: int) -> Burst | None:
        rows: list[Buffer] = []
        stride, most = 0, 1
        while self._again and len(rows) < most:
            wish = self._again[0]
            message = self._kept.get(wish[0])
            if message is not None:
                if rows and message.stride != stride:
                    break
                stride = message.stride
                most = self._batch(allowance, stride)
                self._packet += 1
                rows.append(message.again(wish[1], self._packet, sent_us, rtt))
            self._again.popleft()
            self._asked.discard(wish)
            if rows and len(rows[-1]) < stride:
                break
        self.counters.datagrams += len(rows)
        self.counters.retransmitted += len(rows)
        return Burst(rows, stride if len(rows) > 1 else 0) if rows else None

    # --- time ------------------------------------------------------------------------------------

    @property
    def _waiting(self) -> bool:
        """Whether something of the receiver's is missed."""
        return bool(self._kept or self._rate.in_flight or not self._open_window)

    @property
    def _probe_at(self) -> float:
        """When to ask how things stand, if nothing else happens."""
        if not self._waiting or self._ready:
            return self._quiet_since + KEEP_ALIVE_S
        rtt_s = self.rtt_s
        if self._probes == 0:
            return self._quiet_since + rtt_s / 4 + 0.002
        pause_s: float = max(1.5 * rtt_s + 0.005, 0.01) * 2 ** min(self._probes - 1, 8)
        return self._quiet_since + min(pause_s, 0.5)

    def timer(self, now: float) -> float | None:
        """When `poll` has something to do, if nothing is received before."""
        if self.state is State.GREETING:
            return self._hello_at
        if self.state not in (State.OPEN, State.ENDING):
            return None
        times = [self._probe_at, self.heard + DEAD_S + 0.001]
        if self.state is State.ENDING and not self._queue:
            times.append(self._end_at)
        if self._again or self._ready:
            if self._rate.allowance(now) > 0:
                return now
            wait_s = self._rate.wait_s(now)
            if wait_s:
                times.append(now + wait_s)
        return min(times)
