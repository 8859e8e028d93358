"""Answers of another machine, however late this one looks at them."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from otter_agent import underlay
from otter_agent.underlay import _BACK, _REPORT, _REPORTED

KEY, HERE, THERE = "ab" * 16, "127.0.0.1", ("127.0.0.1", 9)


@pytest.fixture
def standing_still(monkeypatch) -> Iterator[socket.socket]:
    """Between any two looks at the clock an hour passes."""
    hours = iter(range(0, 3600_000, 3600))
    monkeypatch.setattr("otter_agent.underlay.time.monotonic", lambda: float(next(hours)))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind((HERE, 0))
        yield sock


def test_an_echo_that_came_meanwhile_is_heard(standing_still):
    end = underlay._End(standing_still, KEY, 1500)
    end.tell(standing_still.getsockname(), _BACK, 3)
    assert underlay._echo(end, THERE, 3) is not None
    assert underlay._echo(end, THERE, 4) is None


def test_a_report_that_came_meanwhile_is_heard(standing_still):
    end = underlay._End(standing_still, KEY, 1500)
    end.tell(standing_still.getsockname(), _REPORTED, 1, _REPORT.pack(5e6, 0.0))
    assert underlay._report(end, THERE, 1, rtt_s=0.01) == 5e6
