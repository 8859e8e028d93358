"""How far ahead of its rate a link is said to be."""

from __future__ import annotations

import pytest

from benchmarks.fidelity.rate import came

EACH_S = 0.0012
RATE_BPS = 1e7
"""Of which a packet of 1500 bytes takes EACH_S."""


def arrivals(times_s: list[float]) -> list[tuple[int, float, float]]:
    """Packets that were all sent at second 5."""
    return [(number, 5.0, 5.0 + at) for number, at in enumerate(times_s)]


def test_packets_at_their_time_are_no_burst() -> None:
    found = came(arrivals([EACH_S * (n + 1) for n in range(100)]), RATE_BPS)
    assert found.ahead == pytest.approx(0.0, abs=1e-6)
    assert found.together == pytest.approx(1.0)
    assert found.share == pytest.approx(1.0)


def test_what_a_late_timer_lets_go_at_once_is_ahead_of_a_stretch_and_not_of_all_time() -> None:
    times = [EACH_S * (n + 1) for n in range(100)]
    late = [*times[:50], *[times[52]] * 3, *times[53:]]
    found = came(arrivals(late), RATE_BPS)
    assert found.together == pytest.approx(3.0)
    assert found.ahead == pytest.approx(0.0, abs=1e-6)


def test_a_bucket_that_is_full_at_first_is_ahead_of_both() -> None:
    times = [EACH_S * max(1, n - 8) for n in range(100)]
    found = came(arrivals(times), RATE_BPS)
    assert found.together == pytest.approx(10.0)
    assert found.ahead == pytest.approx(9.0)
