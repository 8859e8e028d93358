"""The loop of the process: packets between devices and datagrams, and greetings at their time.

Must not know: where the agent is, what its messages are.
"""

from __future__ import annotations

import itertools
import os
import select
import time
from collections.abc import Callable
from contextlib import suppress

from otter_agent import api
from otter_agent.links.realtime import Guard
from otter_agent.tunnels import datagrams, pieces
from otter_agent.tunnels.port import Port
from otter_agent.tunnels.protocol import Wanted
from otter_agent.tunnels.session import Address, Datagram, Session

_BATCH = 16
"""Packets read of a device at once: then others have their turn."""
_LOOK_S = 1.0
_BUFFERS = [memoryview(bytearray(pieces.HEADER_BYTES + 65_535)) for _ in range(_BATCH)]
_EVENTS = 64
Ready = Callable[[int], None]


class Tunnel:
    """One that is carried; owns the device's descriptor.

    Attributes:
        wanted: As the agent asked.
        session: With the other end.
    """

    def __init__(self, mesh: str, wanted: Wanted, device: int, port: _Door) -> None:
        self.mesh, self.wanted, self.device, self.port = mesh, wanted, device, port
        self.session = Session(
            bytes.fromhex(wanted.key),
            wanted.number,
            (wanted.remote, wanted.remote_port) if wanted.opens else None,
            os.urandom(datagrams.KEY_BYTES),
            first=wanted.first,
        )
        self.sent = self.received = self.dropped = 0

    def told(self, now: float) -> api.TunnelState:
        """How it is."""
        session = self.session
        heard = None if not session.joined else max(0.0, now - session.heard_s)
        at = session.address
        return api.TunnelState(
            joined=session.joined,
            heard_s=heard,
            peer=f"{at[0]}:{at[1]}" if at else "",
            sent=self.sent,
            received=self.received,
            dropped=self.dropped,
            forged=session.forged,
            replayed=session.replayed,
        )

    def forth(self) -> bool:
        """Send what the device has; false: it is gone."""
        rows: list[Datagram] = []
        sealed = self.session.sealed
        try:
            for buffer in _BUFFERS:
                size = os.readv(self.device, (buffer,))
                found = sealed(buffer[:size])
                self.dropped += not found
                rows += found
        except BlockingIOError:
            pass
        except OSError:
            return False
        if rows and self.session.address is not None:
            self.sent += len(rows)
            self.port.send(rows, self.session.address)
        return True

    def back(self, found: list[memoryview]) -> None:
        """Hand on what has come in."""
        taken = self.session.taken(found)
        self.received += len(taken)
        for packet in pieces.together(taken):
            try:
                os.writev(self.device, packet)
            except OSError:  # it is no IP packet, or the device is down
                self.dropped += 1


class _Door(Port):
    """A port with the tunnels that come in there, by number."""

    def __init__(self, local: Address) -> None:
        super().__init__(local)
        self.tunnels: dict[int, Tunnel] = {}


class Carrier:
    """Carries tunnels; others may wait for descriptors of their own beside.

    Args:
        guard: Of the process's place before others.

    Attributes:
        tunnels: By mesh and link.
        stopped: Set it to end `run`.
    """

    def __init__(self, guard: Guard) -> None:
        self.tunnels: dict[tuple[str, str], Tunnel] = {}
        self.stopped = False
        self._ports: dict[Address, _Door] = {}
        self._ready: dict[int, Ready] = {}
        self._epoll = select.epoll()
        self._guard = guard
        self._paused: dict[int, list[Tunnel]] = {}
        self._greet_s = 0.0

    # --- tunnels -------------------------------------------------------------------------------

    def add(self, mesh: str, wanted: Wanted, device: int) -> str:
        """Carry one, in place of another of that name; why it can't be, or "".

        `device` is closed with it.
        """
        self.drop(mesh, wanted.link)
        local = wanted.local, wanted.port
        try:
            port = self._ports.get(local) or self._open(local)
        except OSError as error:
            os.close(device)
            why = (error.strerror or str(error)).lower()
            return f"link {wanted.link}: udp {local[0]}:{local[1]}: {why}"
        if wanted.number in port.tunnels:
            os.close(device)
            self._tidy()
            return f"link {wanted.link}: tunnel {wanted.number} is another link's"
        tunnel = Tunnel(mesh, wanted, device, port)
        self.tunnels[mesh, wanted.link] = tunnel
        port.tunnels[wanted.number] = tunnel
        self._watch_device(tunnel)
        self._greet_s = 0.0
        return ""

    def drop(self, mesh: str, link: str) -> None:
        """Carry one no more, if it is; nothing listens for none."""
        tunnel = self.tunnels.pop((mesh, link), None)
        if tunnel is None:
            return
        del tunnel.port.tunnels[tunnel.wanted.number]
        for paused in self._paused.values():
            with suppress(ValueError):
                paused.remove(tunnel)
        self.unwatch(tunnel.device)
        os.close(tunnel.device)
        self._tidy()

    def _open(self, local: Address) -> _Door:
        port = self._ports[local] = _Door(local)
        self.watch(port.descriptor, select.EPOLLIN, lambda events: self._back(port, events))
        return port

    def _tidy(self) -> None:
        """Close sockets that no tunnel needs."""
        needed = {tunnel.port.local for tunnel in self.tunnels.values()}
        for local in self._ports.keys() - needed:
            port = self._ports.pop(local)
            self._paused.pop(port.descriptor, None)
            self.unwatch(port.descriptor)
            port.close()

    # --- packets -------------------------------------------------------------------------------

    def _forth(self, tunnel: Tunnel) -> None:
        # Until the kernel takes more, packets wait in the device: here they would fill memory.
        if not tunnel.port.stalled and not tunnel.forth():
            self.drop(tunnel.mesh, tunnel.wanted.link)
        elif tunnel.port.stalled:
            self._pause(tunnel)

    def _pause(self, tunnel: Tunnel) -> None:
        port = tunnel.port
        self.unwatch(tunnel.device)
        paused = self._paused.setdefault(port.descriptor, [])
        if not paused:
            both = select.EPOLLIN | select.EPOLLOUT
            self.watch(port.descriptor, both, lambda events: self._back(port, events))
        paused.append(tunnel)

    def _go_on(self, port: _Door) -> None:
        for tunnel in self._paused.pop(port.descriptor, ()):
            self._watch_device(tunnel)
        self.watch(port.descriptor, select.EPOLLIN, lambda events: self._back(port, events))

    def _watch_device(self, tunnel: Tunnel) -> None:
        self.watch(tunnel.device, select.EPOLLIN, lambda events: self._forth(tunnel))

    def _back(self, port: _Door, events: int) -> None:
        if events & select.EPOLLOUT:
            port.flush()
            if not port.stalled:
                self._go_on(port)
        for found, source in port.receive():
            self._take(port, found, source)

    def _take(self, port: _Door, found: list[memoryview], source: Address) -> None:
        """What came in at once, mostly of one tunnel."""
        for what, group in itertools.groupby(found, datagrams.kind_of):
            tunnel = None if what is None else port.tunnels.get(what[1])
            if what is None or tunnel is None:
                continue
            if what[0] == datagrams.PACKET:
                tunnel.back(list(group))
            elif what[0] == datagrams.GREETING:
                now = time.monotonic()
                for one in group:
                    answer = tunnel.session.greeted(one, source, now)
                    if answer is not None and not port.stalled:
                        port.send([(len(answer), (answer,))], source)
                self._greet_s = min(self._greet_s, tunnel.session.next_s)

    def _greet(self, now: float) -> None:
        """Send greetings that are due."""
        next_s = now + _LOOK_S
        for tunnel in self.tunnels.values():
            session = tunnel.session
            greeting = session.due(now)
            if greeting is not None and session.address is not None:
                tunnel.port.send([(len(greeting), (greeting,))], session.address)
            next_s = min(next_s, session.next_s)
        self._greet_s = next_s

    # --- the loop ------------------------------------------------------------------------------

    def watch(self, descriptor: int, events: int, ready: Ready) -> None:
        """Call `ready` on events of a descriptor; for one already watched, other events."""
        if descriptor in self._ready:
            self._epoll.modify(descriptor, events)
        else:
            self._epoll.register(descriptor, events)
        self._ready[descriptor] = ready

    def unwatch(self, descriptor: int) -> None:
        """Call nothing any more."""
        if self._ready.pop(descriptor, None) is not None:
            self._epoll.unregister(descriptor)

    def run(self, look: Callable[[], None]) -> None:
        """Carry until `stopped`; call `look` every second."""
        next_look = 0.0
        while not self.stopped:
            now = time.monotonic()
            if now >= next_look:
                look()
                next_look = now + _LOOK_S
            if now >= self._greet_s:
                self._greet(now)
            wait = max(0.0, min(self._greet_s, next_look) - now)
            for descriptor, events in self._epoll.poll(wait, _EVENTS):
                if (ready := self._ready.get(descriptor)) is not None:
                    ready(events)
            if self._guard.due(now):
                self._guard.look(now, time.process_time())

    def close(self) -> None:
        """Let go of everything."""
        for mesh, link in list(self.tunnels):
            self.drop(mesh, link)
        self._epoll.close()
