"""Moments on the command line."""

from __future__ import annotations

import time

import click
import pytest

from otter_ctl.cli.times import Moment, utc


def moment(text: str) -> float:
    return Moment().convert(text, None, None)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("10m", 600), ("1h30m", 5400), ("90s", 90), ("500ms", 0.5), ("1.5h", 5400), ("2d", 172800),
     ("3min", 180)],
)  # fmt: skip
def test_a_duration_counts_back(text, seconds):
    assert moment(text) == pytest.approx(time.time() - seconds, abs=5)


def test_times():
    assert moment("1795380202.5") == 1795380202.5
    assert moment("2026-11-22T20:43:22+00:00") == 1795380202
    assert moment("2026-11-22T20:43:22.250Z") == 1795380202.25
    local = time.mktime((2026, 11, 22, 20, 43, 22, 0, 0, -1))
    assert moment("2026-11-22 20:43:22") == local
    assert moment(utc(1795380202.125)) == 1795380202.125


@pytest.mark.parametrize(
    "text", ["", "yesterday", "10", "10x", "-5m", "2026-13-01", "1e400", "nan"]
)
def test_what_is_no_time(text):
    with pytest.raises(click.BadParameter, match="is neither a duration like 10m"):
        moment(text)
