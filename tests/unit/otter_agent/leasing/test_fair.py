"""Whose turn it is, with a clock of the test's own."""

from __future__ import annotations

import heapq
from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from otter_agent.leasing.fair import OWED_GRACE_S, Fair


@dataclass
class Client:
    """Holds for `hold_s`, then asks again after `think_s`; for ever."""

    name: str
    hold_s: float
    think_s: float = 0.0001


def played(fair: Fair, clients: list[Client], seconds: float, begin: float = 0.0) -> float:
    """The clock after so long."""
    now, order = begin, 0
    coming: list[tuple[float, int, str, int]] = []
    for number in range(len(clients)):
        heapq.heappush(coming, (now, order, "ask", number))
        order += 1
    while now < begin + seconds:
        for what, request in fair.next(now):
            if what == "granted":
                heapq.heappush(coming, (now + clients[request].hold_s, order, "back", request))
                order += 1
        due = fair.due()
        at = min([at for at in (coming[0][0] if coming else None, due) if at is not None])
        now = max(now, at)
        if coming and coming[0][0] <= now:
            _, _, what, number = heapq.heappop(coming)
            client = clients[number]
            if what == "ask":
                fair.ask(client.name, number, now)
            else:
                fair.withdraw(client.name, number, now)
                heapq.heappush(coming, (now + client.think_s, order, "ask", number))
                order += 1
    return now


def shares(fair: Fair) -> dict[str, float]:
    total = sum(member.held_s for member in fair.members.values())
    return {name: member.held_s / total for name, member in fair.members.items()}


def sharing(**weights: float) -> Fair:
    fair = Fair()
    for name, weight in weights.items():
        fair.weigh(name, weight)
    return fair


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
    played(fair, clients, 30)
    for name, weight in zip(names, weights, strict=True):
        assert shares(fair)[name] == pytest.approx(weight / sum(weights), abs=0.02)


def test_one_alone_is_never_held_up():
    fair = sharing(a=0.01, b=10)
    now = played(fair, [Client("a", 0.01, think_s=0)], 10)
    assert fair.members["a"].held_s == pytest.approx(now, rel=0.01)


def test_who_is_slow_to_ask_again_is_not_waited_for():
    """20 ms between its turns: the other has all that time, whatever their weights."""
    fair = sharing(a=9, b=1)
    now = played(fair, [Client("a", 0.01, think_s=0.02), Client("b", 0.01)], 20)
    idle = now - sum(member.held_s for member in fair.members.values())
    assert idle < 0.02 * now
    assert shares(fair)["b"] > 0.6


def test_who_a_busy_machine_makes_slow_has_its_share_all_the_same():
    fair = sharing(a=3, b=1)
    played(fair, [Client("a", 0.01, think_s=0.006), Client("b", 0.01)], 30)
    assert shares(fair)["a"] == pytest.approx(0.75, abs=0.03)


def test_who_asked_for_nothing_has_no_credit():
    fair = sharing(a=1, b=1)
    now = played(fair, [Client("a", 0.01)], 10)
    fair.turn = None
    before = fair.members["a"].held_s
    played(fair, [Client("a", 0.01), Client("b", 0.01)], 2, begin=now)
    assert fair.members["a"].held_s - before == pytest.approx(1.0, abs=0.05)


def test_another_weight_holds_from_now_on():
    fair = sharing(a=3, b=1)
    clients = [Client("a", 0.01), Client("b", 0.01)]
    now = played(fair, clients, 10)
    fair.weigh("a", 1)
    fair.weigh("b", 3)
    fair.turn = None
    before = {name: member.held_s for name, member in fair.members.items()}
    played(fair, clients, 10, begin=now)
    had = {name: member.held_s - before[name] for name, member in fair.members.items()}
    assert had["b"] / (had["a"] + had["b"]) == pytest.approx(0.75, abs=0.02)


def test_a_turn_that_lasts_too_long_is_taken_away_if_others_wait():
    fair = Fair(longest_s=1.0)
    fair.weigh("a", 1)
    fair.weigh("b", 1)
    fair.ask("a", 1, 0.0)
    assert list(fair.next(0.0)) == [("granted", 1)]
    assert list(fair.next(5.0)) == []  # nobody waits
    fair.ask("b", 2, 5.0)
    assert list(fair.next(5.0)) == [("revoked", 1), ("granted", 2)]
    fair.withdraw("a", 1, 5.5)  # too late, and of no effect
    assert fair.turn is not None
    assert fair.turn.request == 2


def test_a_member_that_goes_gives_way_at_once():
    fair = sharing(a=1, b=1)
    fair.ask("a", 1, 0.0)
    fair.ask("b", 2, 0.0)
    assert list(fair.next(0.0)) == [("granted", 1)]
    fair.drop("a", 0.001)
    assert list(fair.next(0.001)) == [("granted", 2)]


def test_one_that_is_waited_for_in_vain_costs_a_moment_only():
    fair = sharing(a=10, b=1)
    fair.ask("a", 1, 0.0)
    fair.ask("b", 2, 0.0)
    assert list(fair.next(0.0)) == [("granted", 1)]
    fair.withdraw("a", 1, 0.001)
    assert list(fair.next(0.001)) == [("granted", 2)]  # it had nothing yet
    fair.ask("a", 1, 0.002)
    fair.withdraw("b", 2, 0.1)
    assert list(fair.next(0.1)) == [("granted", 1)]
    fair.ask("b", 2, 0.1)
    fair.withdraw("a", 1, 0.101)
    assert list(fair.next(0.101)) == []  # a would be first again
    assert fair.due() == pytest.approx(0.101 + OWED_GRACE_S)
    assert list(fair.next(0.101 + OWED_GRACE_S)) == [("granted", 2)]
