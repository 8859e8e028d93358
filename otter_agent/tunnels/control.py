"""What the process does for its agent: it answers requests between packets, and never waits.

Must not know: how packets are carried.
"""

from __future__ import annotations

import os
import socket
import time
from collections import deque

from otter_agent import api
from otter_agent.links.talks import Talks
from otter_agent.tunnels import protocol
from otter_agent.tunnels.carrier import Carrier


class Control:
    """Serves agents at a listening socket.

    Attributes:
        idle_since_s: Since when nothing is carried; None: something is.
    """

    def __init__(self, carrier: Carrier, listener: socket.socket) -> None:
        self._carrier = carrier
        self._talks = Talks(carrier, listener, self._answered)
        self.idle_since_s: float | None = time.monotonic()

    def close(self) -> None:
        """Hang up on all."""
        self._talks.close()

    def look(self) -> None:
        """Take note of whether anything is carried."""
        if self._carrier.tunnels:
            self.idle_since_s = None
        elif self.idle_since_s is None:
            self.idle_since_s = time.monotonic()

    def _answered(self, body: bytes, devices: deque[int]) -> protocol.Answer:
        request = api.decode(body, protocol.Request)
        if len(devices) < len(request.fresh):
            raise ValueError("tunnels without their devices")
        if {*request.fresh} - {one.link for one in request.wanted}:
            raise ValueError("devices of no tunnel")
        return self.answer(request, devices)

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
