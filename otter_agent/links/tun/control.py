"""What the helper does for its agent: it answers requests between packets, and never waits.

Must not know: how links are carried.
"""

from __future__ import annotations

import os
import select
import socket
import time
from collections import deque

from msgspec.structs import replace

from net.links.spec import LinkSpec
from otter_agent import api
from otter_agent.links.base import Direction
from otter_agent.links.planner import Later
from otter_agent.links.tun import protocol
from otter_agent.links.tun.carrier import Carrier
from otter_agent.links.tun.line import Line

_RECEIVE_BYTES = 1 << 18
_DESCRIPTORS = 253
_UNREAD_BYTES = 64 << 20
"""An agent that doesn't read its answers is hung up on."""


class Control:
    """Serves agents at a listening socket.

    Attributes:
        idle_since_s: Since when nothing is carried; None: something is.
    """

    def __init__(self, carrier: Carrier, listener: socket.socket) -> None:
        self._carrier = carrier
        self._listener = listener
        self._talks: set[_Talk] = set()
        self.idle_since_s: float | None = time.monotonic()
        listener.setblocking(False)
        listener.listen()  # anew: who connects is told by it whose socket this is
        carrier.watch(listener.fileno(), select.EPOLLIN, self._accept)

    def _accept(self, events: int) -> None:
        try:
            connection, _ = self._listener.accept()
        except OSError:
            return
        connection.setblocking(False)
        self._talks.add(_Talk(self, self._carrier, connection))

    def hung_up(self, talk: _Talk) -> None:
        """A connection has ended."""
        self._talks.discard(talk)

    def close(self) -> None:
        """Hang up on all."""
        for talk in list(self._talks):
            talk.close()

    def look(self) -> None:
        """Take note of whether anything is carried, and let go of what isn't needed."""
        self._carrier.forget_schedules()
        if self._carrier.lines:
            self.idle_since_s = None
        elif self.idle_since_s is None:
            self.idle_since_s = time.monotonic()

    # --- requests ---------------------------------------------------------------------------------

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


class _Talk:
    """One connection."""

    def __init__(self, control: Control, carrier: Carrier, connection: socket.socket) -> None:
        self._control = control
        self._carrier = carrier
        self._connection = connection
        self._received = bytearray()
        self._unsent = bytearray()
        self._descriptors: deque[int] = deque()
        carrier.watch(connection.fileno(), select.EPOLLIN, self._ready)

    def _ready(self, events: int) -> None:
        try:
            if events & select.EPOLLOUT:
                self._send()
            if events & ~select.EPOLLOUT:
                self._receive()
        except BlockingIOError:  # it was another's, of before
            pass
        except (OSError, EOFError):
            self.close()

    def _receive(self) -> None:
        data, descriptors, _, _ = socket.recv_fds(self._connection, _RECEIVE_BYTES, _DESCRIPTORS)
        self._descriptors += descriptors
        if not data:
            raise EOFError
        self._received += data
        start = protocol.LENGTH.size
        while len(self._received) >= start:
            (length,) = protocol.LENGTH.unpack_from(self._received)
            if length > protocol.LONGEST_BYTES:
                raise EOFError
            if len(self._received) < start + length:
                return
            body = bytes(self._received[start : start + length])
            del self._received[: start + length]
            self._unsent += protocol.pack(self._answer(body))
            self._send()

    def _answer(self, body: bytes) -> protocol.Answer:
        try:
            request = api.decode(body, protocol.Request)
            if len(self._descriptors) < 2 * len(request.attach) + len(request.traces):
                raise ValueError("links without their devices, or traces without their files")
            if any(not 0 <= one.way < len(request.directions) for one in request.later):
                raise ValueError("changes of no direction")
            return self._control.answer(request, self._descriptors)
        except ValueError as error:  # a `DecodeError` is one
            why = f"the helper of links doesn't understand its agent: {error}"
            return protocol.Answer(pid=os.getpid(), problem=why)
        finally:
            self._let_go()

    def _let_go(self) -> None:
        """Close what came and was of no use."""
        while self._descriptors:
            os.close(self._descriptors.popleft())

    def _send(self) -> None:
        if self._unsent:
            try:
                sent = self._connection.send(self._unsent)
            except BlockingIOError:
                sent = 0
            del self._unsent[:sent]
        if len(self._unsent) > _UNREAD_BYTES:
            raise EOFError
        more = select.EPOLLOUT if self._unsent else 0
        self._carrier.watch(self._connection.fileno(), select.EPOLLIN | more, self._ready)

    def close(self) -> None:
        """Hang up."""
        self._carrier.unwatch(self._connection.fileno())
        self._connection.close()
        self._let_go()
        self._control.hung_up(self)
