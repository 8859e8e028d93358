"""The timer that helpers of links wait for."""

from __future__ import annotations

import math
import select
import time
from collections.abc import Iterator
from contextlib import closing

import pytest

from otter_agent.links.realtime import Timer


@pytest.fixture
def timer() -> Iterator[Timer]:
    with closing(Timer()) as made:
        yield made


def rings(timer: Timer, within_s: float) -> bool:
    return bool(select.select([timer.descriptor], [], [], within_s)[0])


@pytest.mark.parametrize("at", [-math.inf, -1.0, 0.0, 1e-12])
def test_what_is_due_rings_at_once(timer: Timer, at: float) -> None:
    timer.set(at)
    assert rings(timer, 10.0)
    timer.clear()
    assert not rings(timer, 0.0)


def test_it_rings_at_its_time_and_never_for_what_never_comes(timer: Timer) -> None:
    timer.set(math.inf)
    assert not rings(timer, 0.0)
    at = time.monotonic() + 0.02
    timer.set(at)
    assert rings(timer, 10.0)
    assert time.monotonic() >= at
