"""Whose turn it is: weighted fair queueing in time, one holder at once. Pure.

Each member has a virtual time, which grows by what it held, divided by its weight; of those that
wait the one with the least is next (start-time fair queueing: Goyal, Vin, Cheng, SIGCOMM 1996).
A member that had little is not given a turn's credit for when it asked for nothing.

A member that gives a turn back asks again a moment later: for that moment (`grace_s`) nobody else
is let in if it would still be first, or two that ask in turn would share evenly whatever their
weights. It is waited for only as long as it is known to be quick about it (anticipatory
scheduling: Iyer, Druschel, SOSP 2001).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field

GRACE_S = 0.002
OWED_GRACE_S, OWED_S = 0.01, 0.1
"""… for one that is owed so much: a busy machine makes it slow to ask."""
MOST_OWED_S = 1.0
"""What a member can be behind its share, and make up for."""
LONGEST_S = 10.0
"""A turn that lasts longer is taken away while others wait."""
_LEAST_WEIGHT = 1e-6
_SMOOTHING = 0.2


@dataclass(slots=True)
class Member:
    """One that shares.

    Attributes:
        weight: In proportion to the others'.
        virtual_s: What it held, by its weight.
        held_s: What it held in all.
        turns: How many it had.
        revoked: How many were taken away.
        think_s: Between giving a turn back and asking again, smoothed.
        waiting: Requests, the oldest first.
        gave_back: When it last did.
    """

    weight: float
    virtual_s: float = 0.0
    held_s: float = 0.0
    turns: int = 0
    revoked: int = 0
    think_s: float = 0.0
    waiting: deque[int] = field(default_factory=deque)
    gave_back: float | None = None


@dataclass(slots=True)
class Turn:
    """What is held now."""

    member: str
    request: int
    since: float


class Fair:
    """Shares one thing.

    Args:
        grace_s: How long a member is waited for that is about to ask again.
        longest_s: Of a turn, while others wait.
    """

    def __init__(self, grace_s: float = GRACE_S, longest_s: float = LONGEST_S) -> None:
        self._grace_s = grace_s
        self._longest_s = longest_s
        self._now_s = 0.0  # virtual time of the newest turn's begin
        self._expected: tuple[str, float] | None = None
        self.members: dict[str, Member] = {}
        self.turn: Turn | None = None

    def weigh(self, name: str, weight: float) -> None:
        """A member, new or with another weight; what it had until now counts by the former."""
        weight = max(weight, _LEAST_WEIGHT)
        if name in self.members:
            self.members[name].weight = weight
        else:
            self.members[name] = Member(weight, virtual_s=self._now_s)

    def drop(self, name: str, now: float) -> None:
        """A member that shares no more; its turn ends."""
        if self.turn is not None and self.turn.member == name:
            self._charge(now)
        self.members.pop(name, None)

    def ask(self, name: str, request: int, now: float) -> None:
        """A request waits from now on."""
        member = self.members[name]
        if not member.waiting and not self._holds(name):
            if member.gave_back is not None:
                think = now - member.gave_back
                member.think_s += _SMOOTHING * (min(think, 1.0) - member.think_s)
            if member.gave_back is None or now - member.gave_back > OWED_GRACE_S:
                member.virtual_s = max(member.virtual_s, self._now_s)
            owed = self._now_s - MOST_OWED_S / member.weight
            member.virtual_s = max(member.virtual_s, owed)
        member.waiting.append(request)

    def withdraw(self, name: str, request: int, now: float) -> None:
        """A request that is given back, or asked for no more."""
        turn = self.turn
        if turn is not None and turn.request == request:
            self._charge(now)
            return
        member = self.members.get(name)
        if member is not None and request in member.waiting:
            member.waiting.remove(request)

    def next(self, now: float) -> Iterator[tuple[str, int]]:
        """What happens now: `revoked` and `granted`, each with its request."""
        turn = self.turn
        if turn is not None and self._others_wait() and now - turn.since >= self._longest_s:
            self.members[turn.member].revoked += 1
            self._charge(now, expect=False)
            yield "revoked", turn.request
        if self.turn is None and (name := self._first(now)) is not None:
            member = self.members[name]
            request = member.waiting.popleft()
            self.turn = Turn(name, request, now)
            self._now_s, self._expected = member.virtual_s, None
            member.turns += 1
            yield "granted", request

    def due(self) -> float | None:
        """When `next` has to be asked again if nothing happens meanwhile; None: never."""
        if not self._others_wait():
            return None
        if self.turn is not None:
            return self.turn.since + self._longest_s
        return self._expected[1] if self._expected is not None else None

    def _others_wait(self) -> bool:
        return any(member.waiting for member in self.members.values())

    def _holds(self, name: str) -> bool:
        return self.turn is not None and self.turn.member == name

    def _charge(self, now: float, *, expect: bool = True) -> None:
        turn, self.turn = self.turn, None
        assert turn is not None
        member = self.members.get(turn.member)
        if member is None:
            return
        held = max(0.0, now - turn.since)
        member.held_s += held
        member.virtual_s += held / member.weight
        member.gave_back = now
        grace_s = self._grace_of(member)
        quick = member.think_s <= grace_s
        self._expected = (turn.member, now + grace_s) if expect and quick else None

    def _grace_of(self, member: Member) -> float:
        """How long it may be waited for."""
        others = [m.virtual_s for m in self.members.values() if m.waiting and m is not member]
        owed_s = (min(others, default=member.virtual_s) - member.virtual_s) * member.weight
        return OWED_GRACE_S if owed_s > OWED_S else self._grace_s

    def _first(self, now: float) -> str | None:
        waiting = [name for name, member in self.members.items() if member.waiting]
        if not waiting:
            return None
        best = min(waiting, key=lambda name: self.members[name].virtual_s)
        if self._expected is None:
            return best
        name, until = self._expected
        member = self.members.get(name)
        if member is not None and not member.waiting and now < until:
            return None if member.virtual_s < self.members[best].virtual_s else best
        self._expected = None
        return best
