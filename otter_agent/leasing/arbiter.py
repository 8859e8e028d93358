"""Gives turns to those who ask at their sockets. One thread, epoll; nothing here waits but it.

A message is a datagram of a SOCK_SEQPACKET connection: `a NAME` asks for a turn of a thing, `r`
gives it back; `g` grants it, `v` says that it was taken away. A holder keeps its turn
(`net/turns.py`): while nobody else wants one, nothing is heard of it, and what it keeps is watched
only while somebody does. A connection has one request at a time; its end gives back what it held.
Must not know: asyncio, modules but by their sockets.
"""

from __future__ import annotations

import os
import select
import socket
import time
from collections.abc import Callable
from contextlib import suppress

from otter_agent import api
from otter_agent.leasing.doors import Asker, Door
from otter_agent.leasing.fair import Fair, Had, Turn
from otter_agent.leasing.words import Held, Member, Report, Told

THINGS = 16
"""That a module may name; more are refused. Others' are their own affair."""
CONNECTIONS = 64
"""Of one member at once."""
_LONGEST_NAME = 32
_WAITING = 8
_LONGEST_LINE = 1 << 24


class Arbiter:
    """The process's only object.

    Args:
        control: Where the agent connects.
        clock: Seconds; for tests.
    """

    def __init__(self, control: socket.socket, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._things: dict[str, Fair] = {}
        self._doors: dict[str, Door] = {}
        self._askers: dict[int, Asker] = {}
        self._work: dict[int, Callable[[], None]] = {}
        self._failed: dict[str, str] = {}
        self._watched: dict[str, int] = {}
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
        for what, fair in self._things.items():
            for happened, request in fair.next(now):
                self._say(request, happened)
            self._look_at(what, fair)

    def _say(self, request: int, happened: str) -> None:
        asker = self._askers[request]
        try:
            if happened == "granted":
                asker.grant()
            elif happened == "told":
                asker.tell()
            else:
                self._look_away_from(request)
                asker.revoke()
        except OSError:  # it reads nothing, or has gone
            self._leave(request)

    def had(self, request: int, since: float, now: float) -> Had:
        """What a holder had, for `Fair`."""
        return self._askers[request].had(since, now)

    def take(self, request: int) -> bool:
        """Take a turn away that isn't made use of, for `Fair`."""
        asker = self._askers[request]
        if asker.kept is None or not asker.kept.take():
            return False
        asker.thing = ""
        return True

    def _look_at(self, what: str, fair: Fair) -> None:
        """See when a holder leaves its turn, as long as others wait for it."""
        turn, watched = fair.turn, self._watched.get(what)
        request = turn.request if turn is not None and fair.others_wait() else None
        if request == watched:
            return
        if watched is not None:
            self._look_away(what)
        asker = None if request is None else self._askers[request]
        if request is None or asker is None or asker.kept is None:
            return
        token, left = asker.kept.token, request
        self._epoll.register(token, select.EPOLLIN | select.EPOLLET)
        self._work[token] = lambda: fair.left(left, self._clock())
        self._watched[what] = request

    def _look_away(self, what: str) -> None:
        asker = self._askers[self._watched.pop(what)]
        if asker.kept is not None:
            self._work.pop(asker.kept.token, None)
            with suppress(OSError, ValueError):
                self._epoll.unregister(asker.kept.token)

    def _look_away_from(self, request: int) -> None:
        for what in [what for what, one in self._watched.items() if one == request]:
            self._look_away(what)

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
        elif (
            data.startswith(b"a ")
            and (door := self._doors.get(asker.member))  # None: its folder went, and it has stayed
            and (not asker.thing or self._has_left(request, asker))
            and (fair := self._fair(asker, data[2:]))
        ):
            asker.thing, now = data[2:].decode("ascii"), self._clock()
            fair.weigh(asker.member, door.member.weight, now)
            fair.ask(asker.member, request, now)
        else:
            self._leave(request)  # its end, or nonsense

    def _fair(self, asker: Asker, name: bytes) -> Fair | None:
        """What is shared under a name; None: that can't be one, or it has named too many."""
        text = name.decode("ascii", "replace")
        if not name.isascii() or not text.isprintable() or not 0 < len(text) <= _LONGEST_NAME:
            return None
        its = [thing for thing, fair in self._things.items() if asker.member in fair.members]
        if text not in its and len(its) >= THINGS:
            return None
        return self._things.setdefault(text, Fair(self))

    def _has_left(self, request: int, asker: Asker) -> bool:
        """Whether it asks instead of going on with what it kept, and so gives that back."""
        if asker.kept is None or not asker.kept.take():
            return False
        self._give_back(request, asker)
        return True

    def _give_back(self, request: int, asker: Asker) -> None:
        if asker.thing:
            self._things[asker.thing].withdraw(asker.member, request, self._clock())
            self._look_away_from(request)  # it may be granted another thing right now
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
        self._askers[request] = Asker(link, name)
        self._watch(link, lambda: self._heard(request))

    def _leave(self, request: int) -> None:
        asker = self._askers[request]
        self._give_back(request, asker)
        self._look_away_from(request)
        asker.forget_kept()
        del self._askers[request]
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
                    fair.weigh(name, member.weight, self._clock())

    def _open(self, member: Member) -> None:
        if member.name in self._doors:  # its folder was made anew
            self._forget(self._doors.pop(member.name).listener)
        try:
            door = Door(member, CONNECTIONS)
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

    def _holds_s(self, turn: Turn | None, now: float) -> float | None:
        return None if turn is None else self._askers[turn.request].holds_s(turn.since, now)

    def report(self) -> Report:
        """What each had."""
        now, held = self._clock(), []
        for what, fair in self._things.items():
            fair.settle(now)
            for name, member in fair.members.items():
                mine = fair.turn if fair.turn and fair.turn.member == name else None
                held.append(
                    Held(
                        name=name,
                        what=what,
                        weight=member.weight,
                        held_s=member.held_s,
                        turns=member.turns,
                        revoked=member.revoked,
                        waiting=len(member.waiting),
                        holds_s=self._holds_s(mine, now),
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
