"""Gives turns to those who ask at their sockets. One thread, epoll; nothing here waits but it.

A message is a datagram of a SOCK_SEQPACKET connection: `a NAME` asks for a turn of a thing, `r`
gives it back; `g` grants it, `v` says that it was taken away. A connection has one request at a
time; its end gives back what it held. Must not know: asyncio, modules but by their sockets.
"""

from __future__ import annotations

import os
import select
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from otter_agent import api
from otter_agent.beside import short
from otter_agent.leasing.fair import Fair
from otter_agent.leasing.words import Held, Member, Report, Told

THINGS = 16
"""That a module may name; more are refused. Others' are their own affair."""
CONNECTIONS = 64
"""Of one member at once."""
_LONGEST_NAME = 32
_WAITING = 8
_LONGEST_LINE = 1 << 24


class _Asker:
    """A connection of a member."""

    def __init__(self, link: socket.socket, member: str) -> None:
        self.link = link
        self.member = member
        self.thing = ""
        """What it waits for or holds; "": nothing."""


class _Door:
    """Where a member connects."""

    def __init__(self, member: Member) -> None:
        self.member = member
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_NONBLOCK)
        path = Path(member.socket)
        with suppress(FileNotFoundError):
            path.unlink()
        try:
            with short(path) as name:
                self.listener.bind(name)
            path.chmod(0o666)  # a module may run as any user; only its own folder leads there
            self.listener.listen(CONNECTIONS)
        except OSError:
            self.listener.close()
            raise

    def close(self) -> None:
        """And take the socket away, so that whoever comes finds nothing to share."""
        self.listener.close()
        with suppress(OSError):
            Path(self.member.socket).unlink()


class Arbiter:
    """The process's only object.

    Args:
        control: Where the agent connects.
        clock: Seconds; for tests.
    """

    def __init__(self, control: socket.socket, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._things: dict[str, Fair] = {}
        self._doors: dict[str, _Door] = {}
        self._askers: dict[int, _Asker] = {}
        self._work: dict[int, Callable[[], None]] = {}
        self._failed: dict[str, str] = {}
        self._epoll = select.epoll()
        self.ended = False
        control.setblocking(False)
        control.listen(_WAITING)  # so the kernel names this process, and not who made the socket
        self._control = control
        self._watch(control, self._meet)

    def serve(self, within_s: float) -> None:
        """Do what there is to do; returns after at most so long without any."""
        now, due = self._clock(), [fair.due() for fair in self._things.values()]
        wait = min([within_s, *(at - now for at in due if at is not None)])
        for descriptor, _ in self._epoll.poll(max(0.0, wait)):
            if work := self._work.get(descriptor):
                work()
        self._turn()

    def close(self) -> None:
        """Take all sockets away."""
        for name in [*self._doors]:
            self._drop(name)
        self._epoll.close()

    # --- turns -----------------------------------------------------------------------------------

    def _turn(self) -> None:
        now = self._clock()
        for fair in self._things.values():
            for what, request in fair.next(now):
                self._say(request, b"g" if what == "granted" else b"v")

    def _say(self, request: int, data: bytes) -> None:
        asker = self._askers.get(request)
        if asker is None:
            return
        if data == b"v":
            asker.thing = ""
        try:
            asker.link.send(data)
        except OSError:  # it reads nothing, or has gone
            self._leave(request)

    def _heard(self, request: int) -> None:
        asker = self._askers[request]
        try:
            data = asker.link.recv(_LONGEST_NAME + 2)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if data == b"r":
            self._give_back(request, asker)
        elif data.startswith(b"a ") and not asker.thing and (fair := self._fair(asker, data[2:])):
            asker.thing = data[2:].decode()
            fair.weigh(asker.member, self._doors[asker.member].member.weight)
            fair.ask(asker.member, request, self._clock())
        else:
            self._leave(request)  # its end, or nonsense

    def _fair(self, asker: _Asker, name: bytes) -> Fair | None:
        """What is shared under a name; None: that can't be one, or it has named too many."""
        text = name.decode("ascii", "replace")
        if not text.isprintable() or not 0 < len(text) <= _LONGEST_NAME:
            return None
        its = [thing for thing, fair in self._things.items() if asker.member in fair.members]
        if text not in its and len(its) >= THINGS:
            return None
        return self._things.setdefault(text, Fair())

    def _give_back(self, request: int, asker: _Asker) -> None:
        if asker.thing:
            self._things[asker.thing].withdraw(asker.member, request, self._clock())
            asker.thing = ""

    # --- connections -----------------------------------------------------------------------------

    def _watch(self, link: socket.socket, work: Callable[[], None]) -> None:
        self._epoll.register(link.fileno(), select.EPOLLIN)
        self._work[link.fileno()] = work

    def _forget(self, link: socket.socket) -> None:
        descriptor = link.fileno()
        self._work.pop(descriptor, None)
        with suppress(OSError, ValueError):
            self._epoll.unregister(descriptor)
        link.close()

    def _come(self, name: str) -> None:
        try:
            link, _ = self._doors[name].listener.accept()
        except OSError:
            return
        link.setblocking(False)
        if sum(asker.member == name for asker in self._askers.values()) >= CONNECTIONS:
            link.close()
            return
        request = link.fileno()
        self._askers[request] = _Asker(link, name)
        self._watch(link, lambda: self._heard(request))

    def _leave(self, request: int) -> None:
        asker = self._askers.pop(request)
        self._give_back(request, asker)
        self._forget(asker.link)

    # --- the agent -------------------------------------------------------------------------------

    def _meet(self) -> None:
        """One agent at a time, and one word: it waits for us, and it is the one who started us."""
        try:
            link, _ = self._control.accept()
        except OSError:
            return
        with link:
            link.settimeout(1.0)
            with suppress(OSError, ValueError):
                told = api.decode(_line(link), Told)
                self.ended = told.end
                self._keep(() if told.end else told.members, more=told.more)
                link.sendall(api.encode(self.report()) + b"\n")

    def _keep(self, members: tuple[Member, ...], *, more: bool) -> None:
        wanted = {member.name: member for member in members}
        for name in [*self._doors]:
            if more and name not in wanted:
                continue
            there = wanted.get(name)
            if there is None or there.socket != self._doors[name].member.socket:
                self._drop(name)
        self._failed.clear()
        for name, member in wanted.items():
            door = self._doors.get(name)
            if door is None or not os.path.exists(member.socket):
                self._open(member)
                continue
            door.member = member
            for fair in self._things.values():
                if name in fair.members:
                    fair.weigh(name, member.weight)

    def _open(self, member: Member) -> None:
        if member.name in self._doors:  # its folder was made anew
            self._forget(self._doors.pop(member.name).listener)
        try:
            door = _Door(member)
        except OSError as error:
            self._failed[member.name] = error.strerror or str(error)
            return
        self._doors[member.name] = door
        self._watch(door.listener, lambda: self._come(member.name))

    def _drop(self, name: str) -> None:
        for request in [r for r, asker in self._askers.items() if asker.member == name]:
            self._leave(request)
        for fair in self._things.values():
            fair.drop(name, self._clock())
        # A name that nobody shares any more is none of the `THINGS` that may be named.
        self._things = {what: fair for what, fair in self._things.items() if fair.members}
        door = self._doors.pop(name)
        self._work.pop(door.listener.fileno(), None)
        door.close()

    def report(self) -> Report:
        """What each had."""
        now, held = self._clock(), []
        for what, fair in self._things.items():
            for name, member in fair.members.items():
                mine = fair.turn if fair.turn and fair.turn.member == name else None
                held.append(
                    Held(
                        name=name,
                        what=what,
                        weight=member.weight,
                        held_s=member.held_s + (now - mine.since if mine else 0.0),
                        turns=member.turns,
                        revoked=member.revoked,
                        waiting=len(member.waiting),
                        holds_s=now - mine.since if mine else None,
                    )
                )
        return Report(held=tuple(held), failed=tuple(f"{n}: {w}" for n, w in self._failed.items()))


def _line(link: socket.socket) -> bytes:
    data = b""
    while not data.endswith(b"\n") and len(data) < _LONGEST_LINE:
        part = link.recv(1 << 16)
        if not part:
            break
        data += part
    return data
