"""What the helper does for its agent: it answers requests between packets, and never waits.

Must not know: how links are carried.
"""

from __future__ import annotations

import os
import socket
import time
from collections import deque

from msgspec.structs import replace

from net.links.spec import LinkSpec
from otter_agent import api
from otter_agent.links.base import Direction
from otter_agent.links.planner import Later
from otter_agent.links.talks import Talks
from otter_agent.links.tun import protocol
from otter_agent.links.tun.carrier import Carrier
from otter_agent.links.tun.line import Line


class Control:
    """Serves agents at a listening socket.

    Args:
        carrier: Of the links.
        listener: Where agents connect.
        stays: Whether it is kept as long as an agent is connected.

    Attributes:
        idle_since_s: Since when nothing is carried, nor is it kept for an agent; None: it is.
    """

    def __init__(self, carrier: Carrier, listener: socket.socket, *, stays: bool = False) -> None:
        self._carrier = carrier
        self._stays = stays
        self._talks = Talks(carrier, listener, self._answered)
        self.idle_since_s: float | None = time.monotonic()

    def close(self) -> None:
        """Hang up on all."""
        self._talks.close()

    def look(self) -> None:
        """Take note of whether anything is carried, and let go of what isn't needed."""
        self._carrier.forget_schedules()
        if self._carrier.lines or (self._stays and len(self._talks)):
            self.idle_since_s = None
        elif self.idle_since_s is None:
            self.idle_since_s = time.monotonic()

    # --- requests ---------------------------------------------------------------------------------

    def _answered(self, body: bytes, descriptors: deque[int]) -> protocol.Answer:
        request = api.decode(body, protocol.Request)
        if len(descriptors) < 2 * len(request.attach) + len(request.traces):
            raise ValueError("links without their devices, or traces without their files")
        if any(not 0 <= one.way < len(request.directions) for one in request.later):
            raise ValueError("changes of no direction")
        return self.answer(request, descriptors)

    def answer(self, request: protocol.Request, descriptors: deque[int]) -> protocol.Answer:
        """Do what is asked; takes what it needs of `descriptors`."""
        for wanted in request.attach:
            both = descriptors.popleft(), descriptors.popleft()
            line = Line(wanted.device, wanted.ends, both, self._carrier.room)
            self._carrier.attach(line)
        for digest in request.traces:
            self._carrier.schedules.add(digest, descriptors.popleft())
        agenda = self._carrier.agenda
        for setting in request.settings:
            agenda.drop(setting.direction)
            self._carrier.ask(setting.direction, setting.spec)
        for later in request.later:
            agenda.add(request.directions[later.way], Later(later.number, later.at_s, later.spec))
        if request.kind == "plan":
            return protocol.Answer(pid=os.getpid(), came=tuple(agenda.came(request.mesh)))
        if request.kind == "forget":
            self._forget(request.mesh, set(request.directions))
        if request.kind == "end":
            self._carrier.stopped = True
        self.look()
        asked = [setting.direction for setting in request.settings] or list(request.directions)
        if request.everything:
            asked = [
                way.direction
                for line in self._carrier.lines.values()
                for way in line.ways
                if way.direction is not None
            ]
        count = request.kind == "count"
        found = tuple(self._found(one, count=count) for one in asked)
        pulse = self._pulse(request.mesh) if request.kind == "health" else None
        return protocol.Answer(pid=os.getpid(), found=found, pulse=pulse)

    def _pulse(self, mesh: str) -> protocol.Pulse:
        ways = [
            way
            for line in self._carrier.lines.values()
            for way in line.ways
            if way.direction is not None and way.direction.mesh == mesh
        ]
        return replace(
            self._carrier.heart.told(),
            packets=sum(way.model.tally.packets for way in ways),
            late=sum(way.lateness.over for way in ways),
            no_room=sum(way.model.tally.dropped.get("room", 0) for way in ways),
        )

    def _forget(self, mesh: str, keep: set[Direction]) -> None:
        for line in list(self._carrier.lines.values()):
            directions = {way.direction for way in line.ways if way.direction is not None}
            if directions and not directions & keep and {d.mesh for d in directions} == {mesh}:
                self._carrier.detach(line)
        if not keep:
            self._carrier.agenda.came(mesh)

    def _found(self, direction: Direction, *, count: bool) -> protocol.Found:
        line = self._carrier.line(direction)
        if line is None:
            return protocol.Found(direction=direction, spec=None)
        way = line.way(direction)
        return protocol.Found(
            direction=direction,
            spec=way.model.spec if way.direction is not None else LinkSpec(),
            inodes=line.inodes(direction),
            counters=way.counters() if count else None,
        )
