"""What the trace of `lte-drive` has pictures' ages be, beside those that were measured."""

from __future__ import annotations

import math

import pytest

from benchmarks import drive


def test_a_picture_is_expected_as_old_as_its_delay_and_its_time_at_the_rate() -> None:
    asked = drive.expected()
    at, age = asked[0]
    assert at == 0.0
    assert age == pytest.approx(28 + 12_000 * 8 / 6e3)
    assert [at for at, _ in asked] == sorted(at for at, _ in asked)
    assert {round(at) for at, age in asked if age is None} == {30, 95}  # handovers


def test_each_picture_is_beside_what_held_when_it_was_sent() -> None:
    panel = drive.drawn([(0.0, 10.0), (1.0, None), (2.0, 20.0)], [(2.5, 1000.0), (0.5, 10.0)])
    measured, trace = panel.lines
    assert (list(measured.xs), list(measured.ys)) == ([pytest.approx(0.49), 1.5], [10.0, 1000.0])
    assert trace.ys[5] == 10.0
    assert math.isnan(trace.ys[15])
    assert trace.ys[25] == 20.0
