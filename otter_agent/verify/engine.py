"""Sends trains of packets over several directions at once and notes when they come.

Both ends are on this machine, so one clock tells one-way delays: each packet's time of sending is
read right before, its time of arrival is the kernel's own (SO_TIMESTAMPNS), so being late, at
either end, falsifies nothing. Sends that were interrupted are marked. One thread, which does
nothing else. Must not know: what is asked of a link, how results are judged.
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
import struct
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from net.links.verify.records import IP_UDP_BYTES, Probes
from net.links.verify.schedule import Train
from otter_agent.verify.paths import Path

_HEAD = struct.Struct("!8sII")
"""Of this train, the packet's number, and its complement."""
_AT_ONCE = 64
"""Packets that are sent, or read, before the other is looked after."""
_INTERRUPTED_NS = 50_000
_STEP_S = 0.001
_SLEW = 0.001
"""NTP slews a clock by half of this at most: adjtimex(2)."""
_ATTEMPTS = 3
_COPIES_S = 0.02
"""After everything has come, copies may follow."""


class ClockStepError(Exception):
    """The machine's clock was set while packets were under way."""


@dataclass(slots=True)
class _Flow:
    """One train on its way."""

    path: Path
    train: Train
    mark: bytes = field(default_factory=lambda: os.urandom(8))
    sent: list[int] = field(default_factory=list)
    took: list[int] = field(default_factory=list)
    came: list[int] = field(default_factory=list)
    copies: list[int] = field(default_factory=list)
    damaged: int = 0
    unnamed: int = 0
    missing: int = 0
    bodies: dict[int, bytes] = field(default_factory=dict)

    def __post_init__(self) -> None:
        count = len(self.train.at_s)
        self.sent, self.took = [0] * count, [0] * count
        self.came, self.copies = [0] * count, [0] * count
        self.missing = count
        lengths = {int(n) for n in np.unique(self.train.payloads)}
        self.bodies = {n: bytes(i * 37 & 255 for i in range(n - _HEAD.size)) for n in lengths}

    def send(self, number: int) -> None:
        """Send one packet; one that can't be sent counts as lost."""
        head = _HEAD.pack(self.mark, number, number ^ 0xFFFFFFFF)
        data = head + self.bodies[int(self.train.payloads[number])]
        self.sent[number] = before = time.clock_gettime_ns(time.CLOCK_REALTIME)
        with contextlib.suppress(OSError):  # no room for it, or the link is down: it never comes
            self.path.tx.send(data)
        self.took[number] = time.clock_gettime_ns(time.CLOCK_REALTIME) - before

    def drain(self) -> None:
        """Take note of what has come."""
        for _ in range(_AT_ONCE):
            packet = self.path.receive()
            if packet is None:
                return
            self._note(*packet)

    def _note(self, data: bytes, came: int) -> None:
        if len(data) < _HEAD.size:
            return
        mark, number, complement = _HEAD.unpack_from(data)
        named = number ^ complement == 0xFFFFFFFF and number < len(self.sent)
        if mark != self.mark and (not named or not _near(mark, self.mark)):
            return  # of an earlier train
        if not named or len(data) not in self.bodies:
            self.damaged += 1
            self.unnamed += 1
            return
        if mark != self.mark or data[_HEAD.size :] != self.bodies[len(data)]:
            self.damaged += 1
        self.copies[number] += 1
        if self.copies[number] == 1:
            self.came[number] = came
            self.missing -= 1

    def probes(self) -> Probes:
        """What came of it."""
        sent, came = np.array(self.sent), np.array(self.came)
        took = np.array(self.took)
        start = int(sent[0])
        times = np.where(came > 0, (came - start) / 1e9, np.nan)
        return Probes(
            (sent - start) / 1e9,
            np.asarray(self.train.payloads + IP_UDP_BYTES),
            times,
            np.array(self.copies),
            self.damaged,
            self.unnamed,
            took <= _INTERRUPTED_NS + 3 * np.median(took),
        )


def _near(a: bytes, b: bytes) -> bool:
    """Whether two marks differ by one bit, as a corrupted packet's does."""
    return (int.from_bytes(a, "big") ^ int.from_bytes(b, "big")).bit_count() <= 1


def clocks_apart() -> float:
    """By how much the clock that packets' times are of is ahead of one that nobody sets."""
    return time.clock_gettime(time.CLOCK_REALTIME) - time.monotonic()


def measure(
    pairs: Sequence[tuple[Path, Train]], apart: Callable[[], float] = clocks_apart
) -> list[Probes]:
    """Send all trains at the same time; what came of each.

    Args:
        pairs: What to send over which path.
        apart: Tells when the clock is set.

    Raises:
        ClockStepError: The clock was set, again and again.
    """
    for _ in range(_ATTEMPTS):
        flows = [_Flow(path, train) for path, train in pairs]
        before, offset = time.monotonic(), apart()
        _send_all(flows)
        if abs(apart() - offset) < _STEP_S + _SLEW * (time.monotonic() - before):
            return [flow.probes() for flow in flows]
    raise ClockStepError


def _send_all(flows: Sequence[_Flow]) -> None:
    """The loop: send what is due, read what has come."""
    at = np.concatenate([flow.train.at_s for flow in flows])
    order = np.argsort(at, kind="stable")
    owners = np.concatenate([np.full(len(f.train.at_s), i) for i, f in enumerate(flows)])
    numbers = np.concatenate([np.arange(len(flow.train.at_s)) for flow in flows])
    due, who, which = at[order].tolist(), owners[order].tolist(), numbers[order].tolist()
    start = time.monotonic() + 0.005
    sockets = {flow.path.rx: flow for flow in flows}
    next_, total = 0, len(due)
    while next_ < total:
        late = time.monotonic() - start
        until = min(total, next_ + _AT_ONCE)
        while next_ < until and due[next_] <= late:
            flows[who[next_]].send(which[next_])
            next_ += 1
        wait = due[next_] - (time.monotonic() - start) if next_ < total else 0.0
        _read(sockets, max(0.0, wait))
    _linger(flows, sockets)


def _read(sockets: Mapping[socket.socket, _Flow], within_s: float) -> bool:
    """Read what has come, or comes within some time; whether anything did."""
    ready = select.select(list(sockets), (), (), within_s)[0]
    for one in ready:
        sockets[one].drain()
    return bool(ready)


def _linger(flows: Sequence[_Flow], sockets: Mapping[socket.socket, _Flow]) -> None:
    """Wait for what is still under way, and a moment for copies."""
    start = time.monotonic()
    longest = max(flow.train.linger_s for flow in flows)
    while (left := start + longest - time.monotonic()) > 0:
        waiting = {
            one: flow
            for one, flow in sockets.items()
            if flow.missing and time.monotonic() < start + flow.train.linger_s
        }
        if not waiting:
            break
        _read(waiting, min(left, 0.05))
    while _read(sockets, _COPIES_S):
        pass
