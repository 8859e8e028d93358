"""Whose turn it is, with a clock of the test's own."""

from __future__ import annotations

import heapq
from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from otter_agent.leasing.fair import LONGEST_S, OWED_GRACE_S, OWED_S, SLICE_S, Fair, Had

SEEN_S = 0.00005
"""A turn that is left for less is begun again before anybody has looked."""


@dataclass
class Client:
    """Holds for `hold_s`, then begins again after `think_s`, or asks; for ever.

    Attributes:
        told: It is to ask.
        began: When its turn did; None: it is left.
        lies: Whether the turn is there to be begun again, or to be taken.
    """

    name: str
    hold_s: float
    think_s: float = 0.0001
    told: bool = False
    began: float | None = None
    lies: bool = False
    held_s: float = 0.0
    turns: int = 0


class Table:
    """Clients by their numbers, as `Fair` sees them; and who else holds something, for good."""

    def __init__(self) -> None:
        self.clients: list[Client] = []
        self.granted: list[int] = []
        """How often each was."""

    def had(self, request: int, since: float, now: float) -> Had:
        if request >= len(self.clients):
            return Had(now - since, 1)
        client = self.clients[request]
        lasts = 0.0 if client.began is None else now - client.began
        return Had(client.held_s + lasts, client.turns)

    def take(self, request: int) -> bool:
        if request >= len(self.clients):
            return False
        there, self.clients[request].lies = self.clients[request].lies, False
        return there


def played(fair: Fair, clients: list[Client], seconds: float, begin: float = 0.0) -> float:
    """The clock after so long."""
    table = fair._hands
    assert isinstance(table, Table)
    table.clients = clients
    table.granted = [0] * len(clients)
    now, order = begin, 0
    coming: list[tuple[float, int, str, int]] = []

    def later(after_s: float, what: str, number: int) -> None:
        nonlocal order
        heapq.heappush(coming, (now + after_s, order, what, number))
        order += 1

    for number in range(len(clients)):
        later(0, "ask", number)
    while now < begin + seconds:
        for what, number in fair.next(now):
            if what == "granted":
                client = clients[number]
                client.began, client.held_s, client.turns, client.told = now, 0.0, 0, False
                table.granted[number] += 1
                later(client.hold_s, "leave", number)
            clients[number].told = what == "told"
        due = fair.due()
        at = min([at for at in (coming[0][0] if coming else None, due) if at is not None])
        now = max(now, at)
        if coming and coming[0][0] <= now:
            _, _, what, number = heapq.heappop(coming)
            client = clients[number]
            if what == "leave":
                assert client.began is not None
                client.held_s += now - client.began
                client.turns += 1
                client.began, client.lies = None, True
                if fair.others_wait() and (client.told or client.think_s > SEEN_S):
                    fair.left(number, now)
                later(client.think_s, "begin", number)
            elif client.lies and not client.told:
                client.lies, client.began = False, now
                later(client.hold_s, "leave", number)
            else:
                if table.take(number):
                    fair.withdraw(client.name, number, now)
                fair.ask(client.name, number, now)
    for number, client in enumerate(clients):
        fair.withdraw(client.name, number, now)
    return now


def shares(fair: Fair) -> dict[str, float]:
    total = sum(member.held_s for member in fair.members.values())
    return {name: member.held_s / total for name, member in fair.members.items()}


def sharing(**weights: float) -> Fair:
    fair = Fair(Table())
    for name, weight in weights.items():
        fair.weigh(name, weight, 0.0)
    return fair


@pytest.mark.slow
def test_time_is_shared_by_weights():
    fair = sharing(a=3, b=1)
    played(fair, [Client("a", 0.01), Client("b", 0.01)], 20)
    assert shares(fair)["a"] == pytest.approx(0.75, abs=0.005)


@pytest.mark.slow
def test_it_is_time_that_is_shared_and_not_turns():
    fair = sharing(a=1, b=1)
    played(fair, [Client("a", 0.001), Client("b", 0.05)], 20)
    assert shares(fair)["a"] == pytest.approx(0.5, abs=0.01)
    assert fair.members["a"].turns > 40 * fair.members["b"].turns


@pytest.mark.slow
@settings(max_examples=20)
@given(
    weights=st.lists(st.floats(0.1, 10), min_size=2, max_size=6),
    holds=st.lists(st.floats(0.002, 0.03), min_size=6, max_size=6),
)
def test_any_weights_and_turns_share_by_weights(weights, holds):
    names = [f"m{number}" for number in range(len(weights))]
    fair = sharing(**dict(zip(names, weights, strict=True)))
    clients = [Client(name, hold) for name, hold in zip(names, holds, strict=False)]
    played(fair, clients, 10)
    for name, weight in zip(names, weights, strict=True):
        assert shares(fair)[name] == pytest.approx(weight / sum(weights), abs=0.02)


def test_one_alone_is_never_held_up():
    fair = sharing(a=0.01, b=10)
    now = played(fair, [Client("a", 0.01, think_s=0)], 10)
    assert fair.members["a"].held_s == pytest.approx(now, rel=0.01)


@pytest.mark.slow
def test_who_is_slow_to_ask_again_is_not_waited_for():
    """20 ms between its turns: the other has all that time, whatever their weights."""
    fair = sharing(a=9, b=1)
    now = played(fair, [Client("a", 0.01, think_s=0.02), Client("b", 0.01)], 20)
    idle = now - sum(member.held_s for member in fair.members.values())
    assert idle < 0.02 * now
    assert shares(fair)["b"] > 0.6


@pytest.mark.slow
def test_who_a_busy_machine_makes_slow_has_its_share_all_the_same():
    fair = sharing(a=3, b=1)
    played(fair, [Client("a", 0.01, think_s=0.006), Client("b", 0.01)], 30)
    assert shares(fair)["a"] == pytest.approx(0.75, abs=0.03)


def test_who_asked_for_nothing_has_no_credit():
    fair = sharing(a=1, b=1)
    now = played(fair, [Client("a", 0.01)], 10)
    before = fair.members["a"].held_s
    played(fair, [Client("a", 0.01), Client("b", 0.01)], 2, begin=now)
    assert fair.members["a"].held_s - before == pytest.approx(1.0, abs=0.05)


@pytest.mark.slow
def test_another_weight_holds_from_now_on():
    fair = sharing(a=3, b=1)
    clients = [Client("a", 0.01), Client("b", 0.01)]
    now = played(fair, clients, 10)
    fair.weigh("a", 1, now)
    fair.weigh("b", 3, now)
    clients = [Client("a", 0.01), Client("b", 0.01)]
    before = {name: member.held_s for name, member in fair.members.items()}
    played(fair, clients, 10, begin=now)
    had = {name: member.held_s - before[name] for name, member in fair.members.items()}
    assert had["b"] / (had["a"] + had["b"]) == pytest.approx(0.75, abs=0.02)


@pytest.mark.slow
def test_turns_change_hands_once_a_slice_at_most():
    """Of 1 ms each, and equal shares: not after each of them."""
    fair = sharing(a=1, b=1)
    clients = [Client("a", 0.001, 0.00001), Client("b", 0.001, 0.00001)]
    now = played(fair, clients, 10)
    assert shares(fair)["a"] == pytest.approx(0.5, abs=0.01)
    table = fair._hands
    assert isinstance(table, Table)
    assert sum(table.granted) <= now / SLICE_S + 1


def test_who_is_owed_much_waits_for_one_turn_and_no_slice():
    """A busy machine took its turn as it was slow to begin again."""
    fair = sharing(a=1, b=1)
    table = fair._hands
    assert isinstance(table, Table)
    table.clients = [Client("a", 0.01), Client("b", 0.01)]
    fair.members["b"].virtual_s = OWED_S + 0.05
    fair.members["a"].ended = 0.0
    fair.ask("b", 1, 0.0)
    assert list(fair.next(0.0)) == [("granted", 1)]
    table.clients[1].began = 0.0
    fair.ask("a", 0, 0.001)
    assert list(fair.next(0.001)) == [("told", 1)]


def test_one_that_keeps_its_turn_alone_hears_of_nobody():
    fair = sharing(a=1)
    clients = [Client("a", 0.01, think_s=0.001)]
    played(fair, clients, 10)
    table = fair._hands
    assert isinstance(table, Table)
    assert table.granted == [1]
    assert fair.members["a"].held_s == pytest.approx(10 / 1.1, rel=0.01)
    assert fair.members["a"].turns > 900


def test_what_lies_there_is_had_at_once_and_what_is_used_when_it_is_left():
    fair = sharing(a=1, b=1)
    table = fair._hands
    assert isinstance(table, Table)
    table.clients = [Client("a", 0.01), Client("b", 0.01)]
    fair.ask("a", 0, 0.0)
    assert list(fair.next(0.0)) == [("granted", 0)]
    table.clients[0].lies = True
    assert fair.due() is None
    fair.ask("b", 1, 60.0)
    assert list(fair.next(60.0)) == [("granted", 1)]
    fair.ask("a", 0, 60.001)
    assert list(fair.next(60.001)) == []  # b makes use of it, and has its slice
    assert fair.due() == pytest.approx(60.0 + SLICE_S)
    table.clients[1].began = 60.0
    assert list(fair.next(60.0 + SLICE_S)) == [("told", 1)]
    assert list(fair.next(60.0 + 2 * SLICE_S)) == []
    table.clients[1].lies, table.clients[1].began = True, None
    fair.left(1, 60.05)
    assert list(fair.next(60.05)) == [("granted", 0)]


def test_a_turn_that_lasts_too_long_while_others_wait_is_taken_away():
    fair = Fair(Table(), longest_s=1.0)
    fair.weigh("a", 1, 0.0)
    fair.weigh("b", 1, 0.0)
    fair.ask("a", 1, 0.0)
    assert list(fair.next(0.0)) == [("granted", 1)]
    assert list(fair.next(5.0)) == []  # nobody waits
    fair.ask("b", 2, 5.0)
    assert list(fair.next(5.0)) == [("told", 1)]
    assert fair.due() == 6.0
    assert list(fair.next(6.0)) == [("revoked", 1), ("granted", 2)]
    fair.withdraw("a", 1, 6.5)  # too late, and of no effect
    assert fair.turn is not None
    assert fair.turn.request == 2


@pytest.mark.slow
def test_many_short_turns_are_no_long_one():
    """Of one that is due far more than the longest turn."""
    fair = Fair(Table(), longest_s=0.1)
    fair.weigh("a", 1000, 0.0)
    fair.weigh("b", 1, 0.0)
    played(fair, [Client("a", 0.01, 0.00001), Client("b", 0.01, 0.00001)], 20)
    assert fair.members["a"].revoked == 0
    assert shares(fair)["b"] == pytest.approx(0.001, abs=0.002)


class Liar:
    """Notes many turns and no time at all, and leaves its turn for nobody."""

    def __init__(self) -> None:
        self.turns = 0

    def had(self, request: int, since: float, now: float) -> Had:
        self.turns += 1
        return Had(0.0, self.turns)

    def take(self, request: int) -> bool:
        return False


def test_one_that_notes_less_than_it_had_keeps_others_no_longer_than_one_that_hangs():
    """Nor is it first again, after that."""
    fair = Fair(Liar())
    for name, request in (("a", 1), ("b", 2)):
        fair.weigh(name, 1, 0.0)
        fair.ask(name, request, 0.0)
    fair.members["b"].virtual_s = due_s = 0.5
    now, happened = 0.0, list(fair.next(0.0))
    while ("revoked", 1) not in happened:
        now += 0.01
        assert now < due_s + 2 * LONGEST_S + 0.1
        fair.left(1, now)  # as if it did, and had it again before anybody could take it
        happened += fair.next(now)
    assert happened == [("granted", 1), ("told", 1), ("revoked", 1), ("granted", 2)]
    assert fair.members["a"].held_s == pytest.approx(LONGEST_S, abs=0.02)


def test_a_member_that_goes_gives_way_at_once():
    fair = sharing(a=1, b=1)
    fair.ask("a", 1, 0.0)
    fair.ask("b", 2, 0.0)
    assert list(fair.next(0.0)) == [("granted", 1)]
    fair.drop("a", 0.001)
    assert list(fair.next(0.001)) == [("granted", 2)]


def test_one_that_is_waited_for_in_vain_costs_a_moment_only():
    fair = sharing(a=10, b=1)
    table = fair._hands
    assert isinstance(table, Table)
    table.clients = [Client("a", 0.01), Client("b", 0.01)]
    fair.ask("b", 1, 0.0)
    assert list(fair.next(0.0)) == [("granted", 1)]
    fair.ask("a", 0, 0.0)
    table.clients[1].held_s = 0.1
    fair.withdraw("b", 1, 0.1)
    assert list(fair.next(0.1)) == [("granted", 0)]
    fair.ask("b", 1, 0.1)
    assert list(fair.next(0.1)) == []
    table.clients[0].held_s, table.clients[0].lies = 0.001, True
    fair.left(0, 0.101)
    assert list(fair.next(0.101)) == []  # a would be first again
    assert fair.due() == pytest.approx(0.101 + OWED_GRACE_S)
    assert list(fair.next(0.101 + OWED_GRACE_S)) == [("granted", 1)]
