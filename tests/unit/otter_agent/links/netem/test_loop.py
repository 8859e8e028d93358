"""What the helper's loop takes for its processor time where the kernel only samples that."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from helpers.scheduling import as_before

from otter_agent.links.netem.playing.loop import Loop
from otter_agent.links.realtime import Guard

BUSY_S, WAIT_S, TURNS = 0.01, 0.03, 3


class Worker:
    """Is busy for a while, then has nothing to do for a longer one."""

    def __init__(self, loop: Loop) -> None:
        self.turns = 0
        self._loop = loop

    def go(self, now: float) -> tuple[float, float]:
        while time.monotonic() - now < BUSY_S:
            pass
        self.turns += 1
        self._loop.stopped = self.turns == TURNS
        return (done := time.monotonic()), done + WAIT_S


@pytest.fixture
def loop() -> Iterator[Loop]:
    with as_before():
        made = Loop(Guard(time.monotonic(), 0.0))
        yield made
        made.close()


@pytest.mark.slow
def test_what_it_did_counts_and_what_it_waited_doesn_t(loop: Loop) -> None:
    loop._in_ticks = True
    begun = time.monotonic()
    loop.run(Worker(loop))
    assert BUSY_S * TURNS <= loop._used() <= time.monotonic() - begun - WAIT_S * (TURNS - 1)
