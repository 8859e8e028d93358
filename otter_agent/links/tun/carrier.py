"""The helper's loop: one thread that waits for packets, for their time, and for the agent.

Must not know: where the agent is, what its messages are.
"""

from __future__ import annotations

import heapq
import itertools
import math
import select
import time
from collections.abc import Callable, Iterable

from net.links.spec import LinkSpec
from otter_agent.links.base import Direction
from otter_agent.links.tun.line import Gone, Line, Room, Way
from otter_agent.links.tun.realtime import Guard, Timer

_EVENTS = 256
_STALE = 256
_EARLY_S = 60e-6
"""How much sooner it wakes than a packet's time, for waking takes about so long, and then spins: at
1,000 packets a second that is 6 % of a core at most, and not done at all by one that is busy."""
_TOGETHER_S = 100e-6
"""How long one that isn't calm sleeps at least: waking for each packet would cost it most of its
time, and a packet is late by half of this on average."""
Ready = Callable[[int], None]
"""Called with the events of a descriptor."""


class Carrier:
    """Carries packets for lines; others may wait for descriptors of their own beside.

    Args:
        guard: Of the process's place before others.

    Attributes:
        lines: What it carries.
        room: What that may hold.
        stopped: Set it to end `run`.
    """

    def __init__(self, guard: Guard) -> None:
        self.lines: dict[frozenset[tuple[str, str]], Line] = {}
        self.room = Room()
        self.stopped = False
        self._by_end: dict[tuple[str, str], Line] = {}
        self._ways: dict[int, tuple[Line, Way]] = {}
        self._others: dict[int, Ready] = {}
        self._agenda: list[tuple[float, int, Line, Way]] = []
        self._order = itertools.count()
        self._epoll = select.epoll()
        self._timer = Timer()
        self._epoll.register(self._timer.descriptor, select.EPOLLIN)
        self._guard = guard

    # --- lines ------------------------------------------------------------------------------------

    def attach(self, line: Line) -> None:
        """Carry a line; another of the same ends is let go of."""
        for name in line.names:
            if (old := self._by_end.get(name)) is not None:
                self.detach(old)
        self.lines[line.names] = line
        for name in line.names:
            self._by_end[name] = line
        for way in line.ways:
            self._ways[way.source] = line, way
            self._epoll.register(way.source, select.EPOLLIN)

    def detach(self, line: Line) -> None:
        """Let go of a line and of what is under way on it."""
        if self.lines.pop(line.names, None) is None:
            return
        for name in line.names:
            self._by_end.pop(name, None)
        for way in line.ways:
            self._ways.pop(way.source, None)
            way.scheduled_s = math.inf
            self._epoll.unregister(way.source)
        self._tidy()
        line.close()

    def line(self, direction: Direction) -> Line | None:
        """The line of a direction; None: it isn't carried."""
        line = self._by_end.get((direction.source_netns, direction.device))
        if line is None or (direction.target_netns, direction.device) not in line.names:
            return None
        return line

    def ask(self, direction: Direction, spec: LinkSpec) -> None:
        """Have properties of a direction that is carried from now on."""
        line = self.line(direction)
        if line is None:
            return
        way, now = line.way(direction), time.monotonic()
        try:
            way.ask(direction, spec, now)
            way.write(now)
        except Gone:
            self.detach(line)
        else:
            self._schedule(line, way)

    # --- others -----------------------------------------------------------------------------------

    def watch(self, descriptor: int, events: int, ready: Ready) -> None:
        """Call `ready` on events of a descriptor; for one already watched, other events."""
        if descriptor in self._others:
            self._epoll.modify(descriptor, events)
        else:
            self._epoll.register(descriptor, events)
        self._others[descriptor] = ready

    def unwatch(self, descriptor: int) -> None:
        """Call nothing any more."""
        if self._others.pop(descriptor, None) is not None:
            self._epoll.unregister(descriptor)

    # --- the loop ---------------------------------------------------------------------------------

    def run(self, look_s: float, look: Callable[[], None]) -> None:
        """Carry packets until `stopped`; call `look` every so often."""
        now = time.monotonic()
        next_look = now + look_s
        while not self.stopped:
            agenda = self._agenda
            while agenda and agenda[0][0] != agenda[0][3].scheduled_s:
                heapq.heappop(agenda)
            first = min(agenda[0][0], next_look) if agenda else next_look
            calm = self._guard.calm
            self._timer.set(first - _EARLY_S if calm else max(first, now + _TOGETHER_S))
            events = self._epoll.poll(-1, _EVENTS)
            now = time.monotonic()
            if calm and now < first <= now + _EARLY_S:
                now = _spin(first)
            self._deliver(now)
            self._handle(events)
            if self._guard.due(now):
                self._guard.look(now, time.process_time())
            if now >= next_look:
                next_look = now + look_s
                look()

    def _handle(self, events: Iterable[tuple[int, int]]) -> None:
        for descriptor, what in events:
            if (found := self._ways.get(descriptor)) is not None:
                self._carry(*found)
            elif descriptor == self._timer.descriptor:
                self._timer.clear()
            elif (ready := self._others.get(descriptor)) is not None:
                ready(what)

    def _carry(self, line: Line, way: Way) -> None:
        now = time.monotonic()
        try:
            way.read(now)
            way.write(now)
        except Gone:
            self.detach(line)
        else:
            self._schedule(line, way)

    def _deliver(self, now: float) -> None:
        """Hand on all whose time has come."""
        agenda = self._agenda
        while agenda and agenda[0][0] <= now:
            at, _, line, way = heapq.heappop(agenda)
            if way.scheduled_s != at:
                continue
            way.scheduled_s = math.inf
            try:
                way.write(now)
            except Gone:
                self.detach(line)
            else:
                self._schedule(line, way)

    def _schedule(self, line: Line, way: Way) -> None:
        at = way.model.next_s
        if at != way.scheduled_s:
            way.scheduled_s = at
            if at != math.inf:
                heapq.heappush(self._agenda, (at, next(self._order), line, way))
                if len(self._agenda) > 2 * len(self._ways) + _STALE:
                    self._tidy()

    def _tidy(self) -> None:
        """Forget turns that came to be sooner or later; what is valid is one a way at most."""
        self._agenda[:] = [one for one in self._agenda if one[0] == one[3].scheduled_s]
        heapq.heapify(self._agenda)

    def close(self) -> None:
        """Let go of everything."""
        for line in list(self.lines.values()):
            self.detach(line)
        self._epoll.close()
        self._timer.close()


def _spin(until: float) -> float:
    """Wait for a moment without letting go of the processor; the time after it."""
    while (now := time.monotonic()) < until:
        pass
    return now
