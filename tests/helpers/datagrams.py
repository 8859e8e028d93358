"""Both ends of a session over a path made up in virtual time: delay, rate, queue, seeded loss.

No sockets, no clock: a second of traffic takes as long as its arithmetic, and replays bit for bit.
"""

from __future__ import annotations

import heapq
import itertools
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np

from net.datagram import control
from net.datagram.fragment import HELLO, PREFIX
from net.datagram.options import Options
from net.datagram.reassembly import Finished
from net.datagram.receiving import Receiving
from net.datagram.sending import Burst, Sending, State

GREETING = control.Greeting(1, "a.x>b.y", "y", "a", 1.0, False, True)


def datagrams(burst: Burst) -> Iterator[bytes]:
    """A burst as the network sees it."""
    data = b"".join(burst.buffers)
    step = burst.segment or len(data)
    for start in range(0, len(data), step):
        yield data[start : start + step]


@dataclass
class Way:
    """One direction. `lose` is asked for each datagram, in order; `detour_s` by its number."""

    delay_s: float = 0.01
    rate_bps: float = float("inf")
    queue_s: float = 0.05
    lose: Callable[[bytes], bool] = lambda data: False
    detour_s: Callable[[int], float] = lambda number: 0.0
    free_at: float = 0.0
    passed: int = 0
    dropped: int = 0

    def arrival(self, data: bytes, now: float) -> float | None:
        """When it arrives; None: it doesn't."""
        wait_s = max(0.0, self.free_at - now)
        if wait_s > self.queue_s or self.lose(data):
            self.dropped += 1
            return None
        self.passed += 1
        self.free_at = now + wait_s + 8 * (len(data) + 28) / self.rate_bps
        return self.free_at + self.delay_s + self.detour_s(self.passed)


@dataclass
class Path:
    """Two ends and what lies between them.

    Attributes:
        finished: Message number -> what arrived, and when.
        left: Message number -> when it was submitted.
    """

    options: Options = field(default_factory=Options)
    there: Way = field(default_factory=Way)
    back: Way = field(default_factory=Way)
    mtu_bytes: int = 1500
    limit_bytes: int = 64 * 2**20
    window_bytes: int = 2 * 2**20
    now: float = 100.0
    finished: dict[int, tuple[Finished, float]] = field(default_factory=dict)
    left: dict[int, float] = field(default_factory=dict)

    def __post_init__(self):
        self._events = []
        self._order = itertools.count()
        self.greeting = control.Greeting(
            1, "a.x>b.y", "y", "a",
            self.options.deadline_s, self.options.partial, self.options.retransmit,
        )  # fmt: skip
        self.sender = Sending(7, self.greeting, self.options, self.mtu_bytes, self.now)
        self.receiver = None

    def open(self):
        self.run_until(lambda: self.sender.state is not State.GREETING)
        assert self.sender.state is State.OPEN

    def send(self, data) -> int:
        number = self.sender.submit([memoryview(data)], self.now)
        self.left[number] = self.now
        return number

    def run_until(self, done: Callable[[], bool], limit_s: float = 120.0):
        """Let time pass until something is so."""
        stop = self.now + limit_s
        self._turn()
        while not done():
            self._step(stop)

    def run_for(self, seconds: float):
        stop = self.now + seconds
        self._turn()
        while (self._next() or stop) < stop:
            self._step(stop)
        self.now = stop

    def _next(self):
        times = [self._events[0][0]] if self._events else []
        times += [t for t in (self.sender.timer(self.now),) if t is not None]
        if self.receiver is not None and self.receiver.timer is not None:
            times.append(self.receiver.timer)
        return min(times, default=None)

    def _step(self, stop: float):
        at = self._next()
        assert at is not None, "nothing happens any more"
        assert at < stop, "it takes longer than it may"
        self.now = max(self.now, at) + 1e-9
        while self._events and self._events[0][0] <= self.now:
            _, _, arrive, data = heapq.heappop(self._events)
            arrive(data)
        self._turn()

    def _turn(self):
        for burst in self.sender.poll(self.now):
            for data in datagrams(burst):
                self._carry(self.there, data, self._at_receiver)
        if self.receiver is not None:
            self._keep(self.receiver.expire(self.now))
            for data in self.receiver.poll(self.now):
                self._carry(self.back, data, self._at_sender)
            if self.receiver.ended and self.receiver.end_asked():
                self._carry(self.back, control.ended(7), self._at_sender)

    def _carry(self, way: Way, data: bytes, arrive: Callable[[bytes], None]):
        at = way.arrival(data, self.now)
        if at is not None:
            heapq.heappush(self._events, (at, next(self._order), arrive, data))

    def _at_sender(self, data: bytes):
        self.sender.receive(data, self.now)

    def _at_receiver(self, data: bytes):
        kind, session = PREFIX.unpack_from(data)[2:]
        if kind == HELLO:
            if self.receiver is None:
                greeting = control.read_hello(data)
                self.receiver = Receiving(
                    session, greeting, self.limit_bytes, self.window_bytes, self.now
                )
            accepted = control.Accepted(self.limit_bytes, self.window_bytes, len(data))
            self._carry(self.back, control.accept(session, accepted), self._at_sender)
        elif self.receiver is not None:
            memory = np.frombuffer(data, np.uint8)
            self._keep(self.receiver.receive(memory, len(data), self.now))

    def _keep(self, finished: list[Finished]):
        for each in finished:
            assert each.number not in self.finished, "delivered twice"
            self.finished[each.number] = (each, self.now)

    def times_s(self) -> list[float]:
        """How long each message took that arrived."""
        return [at - self.left[number] for number, (_, at) in self.finished.items()]


def random_loss(ratio: float, seed: int) -> Callable[[bytes], bool]:
    """Each datagram by itself."""
    chance = random.Random(seed)
    return lambda data: chance.random() < ratio


def content(nbytes: int, seed: int = 0) -> bytes:
    """Bytes that are all different enough."""
    return np.random.default_rng(seed).integers(0, 256, nbytes, np.uint8).tobytes()
