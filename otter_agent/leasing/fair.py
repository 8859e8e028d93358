"""Whose turn it is: weighted fair queueing in time, one holder at once. Pure.

Each member has a virtual time, which grows by what it held, divided by its weight; of those that
wait the one with the least is next (start-time fair queueing: Goyal, Vin, Cheng, SIGCOMM 1996).
A member that had little is not given a turn's credit for when it asked for nothing.

A holder keeps its turn and begins it again as it likes (`net/turns.py`) until others wait and it is
ahead of them: then it is told so, and what it has is taken as soon as it lies there. One that
leaves it there without being told is about to begin again: it is waited for that moment
(`grace_s`), or two would share evenly whatever their weights. It is waited for only as long as it
is known to be quick about it (anticipatory scheduling: Iyer, Druschel, SOSP 2001).
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

GRACE_S = 0.002
OWED_GRACE_S, OWED_S = 0.01, 0.1
"""… for one that is owed so much: a busy machine makes it slow to ask. Nor has another a slice."""
MOST_OWED_S = 1.0
"""What a member can be behind its share, and make up for."""
SLICE_S = 0.05
"""What a holder may have before others' shares end its turn: changing hands costs some 0.15 ms, and
turns of 10 ms by 3:1 shall lose less than 1 % to it."""
LONGEST_S = 10.0
"""A turn that lasts longer is taken away while others wait."""
_LEAST_WEIGHT = 1e-6
_SMOOTHING = 0.2
_CLOSE_S = 0.0001
"""Who is behind by less isn't."""


class Had(NamedTuple):
    """Since a request was granted: seconds held, and turns that have ended."""

    held_s: float
    turns: int


_NOTHING = Had(0.0, 0)


class Hands(Protocol):
    """Who holds what, by requests."""

    def had(self, request: int, since: float, now: float) -> Had:
        """What it had of the turn that was granted then."""
        ...

    def take(self, request: int) -> bool:
        """Take the turn away, unless it is made use of now."""
        ...


@dataclass(slots=True)
class Member:
    """One that shares.

    Attributes:
        weight: In proportion to the others'.
        virtual_s: What it held, by its weight.
        held_s: What it held in all.
        turns: How many it had.
        revoked: How many were taken away.
        think_s: Between the end of a turn and asking again, smoothed.
        waiting: Requests, the oldest first.
        ended: When its last turn did.
    """

    weight: float
    virtual_s: float = 0.0
    held_s: float = 0.0
    turns: int = 0
    revoked: int = 0
    think_s: float = 0.0
    waiting: deque[int] = field(default_factory=deque)
    ended: float | None = None


@dataclass(slots=True)
class Turn:
    """What is held now.

    Attributes:
        busy_since: When it was last known to begin.
        had: What has been charged of it.
        seen: When that was.
        idle_at: When it is taken if nobody has begun it again; None: it is made use of.
        left: When it was seen to lie there.
        told: Whether the holder knows that others wait.
        latest: When it is told whatever it notes: it would have had all that it is due.
        had_then_s: What had been charged when it was told.
    """

    member: str
    request: int
    since: float
    busy_since: float
    seen: float
    had: Had = _NOTHING
    idle_at: float | None = None
    left: float | None = None
    told: bool = False
    latest: float = math.inf
    had_then_s: float = 0.0


class Fair:
    """Shares one thing.

    Args:
        hands: What holders have to do with it.
        grace_s: How long a member is waited for that is about to begin again.
        longest_s: Of a turn, while others wait.
        slice_s: What a holder may have while others' shares are due.
    """

    def __init__(
        self,
        hands: Hands,
        grace_s: float = GRACE_S,
        longest_s: float = LONGEST_S,
        slice_s: float = SLICE_S,
    ) -> None:
        self._hands = hands
        self._grace_s = grace_s
        self._longest_s = longest_s
        self._slice_s = slice_s
        self._now_s = 0.0  # virtual time that all who wait or hold have reached
        self.members: dict[str, Member] = {}
        self.turn: Turn | None = None

    def weigh(self, name: str, weight: float, now: float) -> None:
        """A member, new or with another weight; what it had until now counts by the former."""
        weight = max(weight, _LEAST_WEIGHT)
        member = self.members.get(name)
        if member is None:
            self.members[name] = Member(weight, virtual_s=self._now_s)
        elif member.weight != weight:
            self.settle(now)
            member.weight = weight

    def drop(self, name: str, now: float) -> None:
        """A member that shares no more; its turn ends."""
        if self._holds(name):
            self._let_go(now)
        self.members.pop(name, None)

    def ask(self, name: str, request: int, now: float) -> None:
        """A request waits from now on."""
        member = self.members[name]
        turn, alone = self.turn, not self.others_wait()
        self.settle(now)
        self._advance()
        if not member.waiting and not self._holds(name):
            self._enter(member, now)
        member.waiting.append(request)
        if turn is not None and alone:  # one that lies there now is taken at once
            turn.busy_since = turn.idle_at = now
            turn.latest = self._latest(turn, now)

    def withdraw(self, name: str, request: int, now: float) -> None:
        """A request that is given back, or asked for no more."""
        if self.turn is not None and self.turn.request == request:
            self._let_go(now)
            return
        member = self.members.get(name)
        if member is not None and request in member.waiting:
            member.waiting.remove(request)

    def left(self, request: int, now: float) -> None:
        """The holder has ended its turn, and left it for who comes first."""
        turn = self.turn
        if turn is None or turn.request != request:
            return
        self.settle(now)
        member = self.members[turn.member]
        grace_s = self._grace_of(member)
        waited_for = not turn.told and member.think_s <= grace_s
        turn.idle_at = now + grace_s if waited_for else now
        turn.left = now
        if not turn.told:  # else it is over: who takes it up again has what is left of the longest
            turn.busy_since = now

    def next(self, now: float) -> Iterator[tuple[str, int]]:
        """What happens now: `told`, `revoked` and `granted`, each with its request."""
        if self.turn is not None and self.others_wait():
            self.settle(now)
            yield from self._end(self.turn, now)
        if self.turn is None and (name := self._first()) is not None:
            self._advance()
            request = self.members[name].waiting.popleft()
            self.turn = Turn(name, request, since=now, busy_since=now, seen=now)
            if self.others_wait():
                self.turn.latest = self._latest(self.turn, now)
            yield "granted", request

    def due(self) -> float | None:
        """When `next` has to be asked again if nothing happens meanwhile; None: never."""
        turn = self.turn
        if not self.others_wait():
            return None
        if turn is None:  # who was first has gone since
            return 0.0
        times = [turn.busy_since + self._longest_s]
        if not turn.told:
            times.append(self._over_at(turn))
        if turn.idle_at is not None:
            times.append(turn.idle_at)
        return min(times)

    def settle(self, now: float) -> None:
        """Charge what is held for what it had until now."""
        turn = self.turn
        member = self.members.get(turn.member) if turn is not None else None
        if turn is None or member is None:
            return
        had = self._hands.had(turn.request, turn.since, now)
        held_s = min(max(had.held_s, turn.had.held_s), max(0.0, now - turn.since))
        held_s = max(held_s, turn.had.held_s)
        turns = max(had.turns, turn.had.turns)
        _charge(member, held_s - turn.had.held_s)
        member.turns += turns - turn.had.turns
        if turns > turn.had.turns and not turn.told:
            turn.busy_since = max(turn.busy_since, turn.seen)
        turn.had, turn.seen = Had(held_s, turns), now

    def others_wait(self) -> bool:
        """Whether anybody waits."""
        return any(member.waiting for member in self.members.values())

    def _enter(self, member: Member, now: float) -> None:
        """It begins to wait: with what it is owed, if it never ceased to want more."""
        if member.ended is not None:
            think_s = now - member.ended
            member.think_s += _SMOOTHING * (min(think_s, 1.0) - member.think_s)
        if member.ended is None or now - member.ended > OWED_GRACE_S:
            member.virtual_s = max(member.virtual_s, self._now_s)
        member.virtual_s = max(member.virtual_s, self._now_s - MOST_OWED_S / member.weight)

    def _advance(self) -> None:
        active = [m.virtual_s for name, m in self.members.items() if m.waiting or self._holds(name)]
        self._now_s = max(self._now_s, min(active, default=self._now_s))

    def _end(self, turn: Turn, now: float) -> Iterator[tuple[str, int]]:
        """Take it, if others are to have it and nobody makes use of it."""
        hangs = now - turn.busy_since >= self._longest_s
        idle = turn.idle_at is not None and turn.idle_at <= now
        over = not turn.told and self._over_at(turn) <= now
        if not (hangs or idle or over):
            return
        if self._hands.take(turn.request):
            self._let_go(now, turn.left if idle else None)
        elif hangs:
            member = self.members[turn.member]
            member.revoked += 1
            # It held it all the time since it was told, whatever it noted.
            _charge(member, now - turn.busy_since - (turn.had.held_s - turn.had_then_s))
            self._let_go(now)
            yield "revoked", turn.request
        else:
            turn.idle_at = turn.left = None
            if over:
                turn.told, turn.busy_since, turn.had_then_s = True, now, turn.had.held_s
                yield "told", turn.request

    def _over_at(self, turn: Turn) -> float:
        """When it is ahead of who waits, if it makes use of all the time until then."""
        member, first = self.members[turn.member], self._first_waiting()
        soon_s = _ahead_in_s(member, first)
        is_owed = (member.virtual_s - first.virtual_s) * first.weight > OWED_S
        over = max(turn.since + (0.0 if is_owed else self._slice_s), turn.seen + soon_s)
        return min(over, turn.latest)

    def _latest(self, turn: Turn, now: float) -> float:
        """When one is told for whom others wait from now on, and who says that it has nothing."""
        due_s = _ahead_in_s(self.members[turn.member], self._first_waiting())
        return now + due_s + self._longest_s

    def _first_waiting(self) -> Member:
        waiting = (m for m in self.members.values() if m.waiting)
        return min(waiting, key=lambda one: one.virtual_s)

    def _holds(self, name: str) -> bool:
        return self.turn is not None and self.turn.member == name

    def _let_go(self, now: float, ended: float | None = None) -> None:
        turn = self.turn
        assert turn is not None
        self.settle(now)
        self.turn = None
        member = self.members.get(turn.member)
        if member is not None:
            member.ended = now if ended is None else ended

    def _grace_of(self, member: Member) -> float:
        """How long it may be waited for."""
        others = [m.virtual_s for m in self.members.values() if m.waiting and m is not member]
        owed_s = (min(others, default=member.virtual_s) - member.virtual_s) * member.weight
        return OWED_GRACE_S if owed_s > OWED_S else self._grace_s

    def _first(self) -> str | None:
        waiting = [name for name, member in self.members.items() if member.waiting]
        return min(waiting, key=lambda name: self.members[name].virtual_s, default=None)


def _charge(member: Member, held_s: float) -> None:
    held_s = max(0.0, held_s)
    member.held_s += held_s
    member.virtual_s += held_s / member.weight


def _ahead_in_s(member: Member, first: Member) -> float:
    """How long it may hold before it is ahead of who is first of those that wait."""
    ahead_in_s = (first.virtual_s - member.virtual_s) * member.weight
    return ahead_in_s if ahead_in_s > _CLOSE_S else 0.0
