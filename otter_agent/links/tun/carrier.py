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

from net.links.cell import Medium, Sender
from net.links.spec import LinkSpec
from otter_agent.links.base import Direction
from otter_agent.links.realtime import Guard, Timer
from otter_agent.links.tun.agenda import Agenda
from otter_agent.links.tun.line import Gone, Line, Room, Way
from otter_agent.links.tun.pulse import Heart
from otter_agent.links.tun.schedules import Schedules

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
        heart: Beats while it runs.

    Attributes:
        lines: What it carries.
        room: What that may hold.
        heart: Of the loop.
        schedules: Opportunities of the traces that are played.
        agenda: Changes of directions that are to come.
        stopped: Set it to end `run`.
    """

    def __init__(self, guard: Guard, heart: Heart | None = None) -> None:
        self.lines: dict[frozenset[tuple[str, str]], Line] = {}
        self.room = Room()
        self.schedules = Schedules()
        self.agenda = Agenda(self.ask)
        self.stopped = False
        self.heart = heart or Heart()
        self._by_end: dict[tuple[str, str], Line] = {}
        self._ways: dict[int, tuple[Line, Way]] = {}
        self._media: dict[tuple[str, str], Medium] = {}
        self._sharing: dict[Sender, tuple[Line, Way]] = {}
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
            self._part(way)
            if way.direction is not None:
                self.agenda.drop(way.direction)
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

    def ask(self, direction: Direction, spec: LinkSpec) -> bool:
        """Have properties of a direction from now on; whether it is carried."""
        line = self.line(direction)
        if line is None:
            return False
        way, now = line.way(direction), time.monotonic()
        medium = self._medium(direction.mesh, spec.medium)
        schedule = None if spec.delivery is None else self.schedules[spec.delivery.trace]
        left = way.model.medium
        try:
            way.ask(direction, spec, now, medium, schedule)
            if medium is not None:
                self._sharing[way.model] = line, way
            else:
                self._sharing.pop(way.model, None)
            way.write(now)
        except Gone:
            self.detach(line)
        else:
            self._schedule(line, way)
        if left is not None and left is not medium:
            self._after_parting(left)
        return True

    # --- shared media -----------------------------------------------------------------------------

    def _medium(self, mesh: str, name: str | None) -> Medium | None:
        """The one of that name; it is made when it is first asked for."""
        return None if name is None else self._media.setdefault((mesh, name), Medium())

    def _part(self, way: Way) -> None:
        """A way shares nothing any more."""
        medium = way.model.medium
        if medium is not None:
            way.model.share(None, time.monotonic())
            self._sharing.pop(way.model, None)
            self._after_parting(medium)

    def _after_parting(self, medium: Medium) -> None:
        """Others have the time that one had; what nobody shares is forgotten."""
        self._see_to_others(medium)
        if not len(medium):
            self._media = {key: one for key, one in self._media.items() if one is not medium}

    def _see_to_others(self, medium: Medium) -> None:
        """Those whose turn it was meanwhile are to be looked at at other times than they said."""
        stirred = list(medium.stirred)
        medium.stirred.clear()
        for sender in stirred:
            if (found := self._sharing.get(sender)) is not None:
                self._set_turn(*found)

    def forget_schedules(self) -> None:
        """Those that nobody plays any more."""
        if not self.schedules:
            return
        now = (way.model.spec for line in self.lines.values() for way in line.ways)
        specs = itertools.chain(now, self.agenda.specs())
        self.schedules.keep({s.delivery.trace for s in specs if s.delivery is not None})

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
        heart = self.heart
        heart.beat(now)
        while not self.stopped:
            agenda = self._agenda
            while agenda and agenda[0][0] != agenda[0][3].scheduled_s:
                heapq.heappop(agenda)
            first = min(agenda[0][0], heart.next_s) if agenda else heart.next_s
            calm = self._guard.calm
            wake = first - _EARLY_S if calm else max(first, now + _TOGETHER_S)
            self._timer.set(min(wake, self.agenda.next_s))
            events = self._epoll.poll(-1, _EVENTS)
            now = time.monotonic()
            if now >= heart.next_s:
                heart.beat(now)
            if calm and now < first <= now + _EARLY_S:
                now = _spin(first)
            self._deliver(now)
            self.agenda.go(now)
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
        self.heart.moved += 1

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
        self._set_turn(line, way)
        if way.model.medium is not None:
            self._see_to_others(way.model.medium)

    def _set_turn(self, line: Line, way: Way) -> None:
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
