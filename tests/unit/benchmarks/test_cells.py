"""How members' shares of a medium are judged."""

from __future__ import annotations

import pytest

from benchmarks.fidelity.cells import judged

EACH_S = 0.001


def turns(count: int) -> list[list[float]]:
    """Two members in turn, a packet each ms from 10.001 s on."""
    return [[10.0 + EACH_S * (2 * n + who + 1) for n in range(count)] for who in (0, 1)]


def test_equal_turns_are_equal_shares_and_no_burst() -> None:
    found = judged(10.0, turns(500), (1.0, 1.0), (EACH_S, EACH_S))
    assert found.error < 0.002
    assert found.ahead == pytest.approx(0.0, abs=1e-6)
    assert found.together == pytest.approx(1.0)


def test_a_share_that_was_not_asked_is_an_error() -> None:
    found = judged(10.0, turns(500), (3.0, 1.0), (EACH_S, EACH_S))
    assert found.error == pytest.approx(1.0, abs=0.01)  # the one had twice its quarter


def test_more_than_the_capacity_is_found_out() -> None:
    early = [[at - 0.1 for at in one] for one in turns(500)]
    assert judged(10.0, early, (1.0, 1.0), (EACH_S, EACH_S)).ahead == pytest.approx(100)


def test_what_comes_at_once_after_a_pause_is_a_burst_and_no_more_than_the_capacity() -> None:
    late = [[max(at, 10.5) for at in one] for one in turns(500)]
    found = judged(10.0, late, (1.0, 1.0), (EACH_S, EACH_S))
    assert found.ahead == pytest.approx(0.0, abs=1e-6)
    assert found.together == pytest.approx(500, abs=2)


def test_a_member_of_half_the_efficiency_gets_half_as_many() -> None:
    two = [[10.0 + 3 * EACH_S * (n + 1) for n in range(200)]] * 2
    slow = [two[0], two[1][::2]]
    assert judged(10.0, slow, (1.0, 1.0), (EACH_S, 2 * EACH_S)).error < 0.01
