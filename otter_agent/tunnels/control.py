"""What the process does for its agent: it answers requests between packets, and never waits long.

Must not know: how packets are carried.
"""

from __future__ import annotations

import os
import select
import socket
import time
from collections import deque

from otter_agent import api
from otter_agent.tunnels import protocol
from otter_agent.tunnels.carrier import Carrier

_ANSWER_S = 1.0
"""An agent that doesn't read its answers is hung up on."""
_DESCRIPTORS = 253
_RECEIVE_BYTES = 1 << 18


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
        connection.settimeout(_ANSWER_S)
        self._talks.add(_Talk(self, self._carrier, connection))

    def hung_up(self, talk: _Talk) -> None:
        """A connection has ended."""
        self._talks.discard(talk)

    def close(self) -> None:
        """Hang up on all."""
        for talk in list(self._talks):
            talk.close()

    def look(self) -> None:
        """Take note of whether anything is carried."""
        if self._carrier.tunnels:
            self.idle_since_s = None
        elif self.idle_since_s is None:
            self.idle_since_s = time.monotonic()

    def answer(self, request: protocol.Request, devices: deque[int]) -> protocol.Answer:
        """Do what is asked; takes what it needs of `devices`."""
        problems: list[str] = []
        if request.kind == "set":
            problems = self._set(request, devices)
        elif request.kind == "forget":
            self._keep(request.mesh, ())
        elif request.kind == "end":
            self._carrier.stopped = True
        self.look()
        now = time.monotonic()
        carried = tuple(
            protocol.Carried(wanted=tunnel.wanted, told=tunnel.told(now))
            for (mesh, _), tunnel in self._carrier.tunnels.items()
            if mesh == request.mesh
        )
        return protocol.Answer(pid=os.getpid(), carried=carried, problems=tuple(problems))

    def _set(self, request: protocol.Request, devices: deque[int]) -> list[str]:
        self._keep(request.mesh, [wanted.link for wanted in request.wanted])
        wanted = {one.link: one for one in request.wanted}
        add = self._carrier.add
        said = [add(request.mesh, wanted[link], devices.popleft()) for link in request.fresh]
        return [*filter(None, said)]

    def _keep(self, mesh: str, links: tuple[()] | list[str]) -> None:
        for name, link in list(self._carrier.tunnels):
            if name == mesh and link not in links:
                self._carrier.drop(name, link)


class _Talk:
    """One connection."""

    def __init__(self, control: Control, carrier: Carrier, connection: socket.socket) -> None:
        self._control = control
        self._carrier = carrier
        self._connection = connection
        self._received = bytearray()
        self._devices: deque[int] = deque()
        carrier.watch(connection.fileno(), select.EPOLLIN, self._ready)

    def _ready(self, events: int) -> None:
        try:
            self._receive()
        except (OSError, EOFError):
            self.close()

    def _receive(self) -> None:
        data, devices, _, _ = socket.recv_fds(self._connection, _RECEIVE_BYTES, _DESCRIPTORS)
        self._devices += devices
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
            self._connection.sendall(protocol.pack(self._answer(body)))

    def _answer(self, body: bytes) -> protocol.Answer:
        try:
            request = api.decode(body, protocol.Request)
            if len(self._devices) < len(request.fresh):
                raise ValueError("tunnels without their devices")
            if {*request.fresh} - {one.link for one in request.wanted}:
                raise ValueError("devices of no tunnel")
            return self._control.answer(request, self._devices)
        except ValueError as error:  # a `DecodeError` is one
            why = f"what carries tunnels doesn't understand its agent: {error}"
            return protocol.Answer(pid=os.getpid(), problems=(why,))
        finally:
            while self._devices:  # what came and was of no use
                os.close(self._devices.popleft())

    def close(self) -> None:
        """Hang up."""
        self._carrier.unwatch(self._connection.fileno())
        self._connection.close()
        while self._devices:
            os.close(self._devices.popleft())
        self._control.hung_up(self)
