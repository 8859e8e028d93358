"""What is done at a moment: at each time that is passed, and never made up for."""

from __future__ import annotations

import math

from net.links.timeline import Event
from otter_agent.timeline.strikes import Strikes

EVENTS = (
    Event(number=0, at_s=1.0, action="kill"),
    Event(number=1, at_s=1.0, reset=True),
    Event(number=2, at_s=0.5, every_s=1.0, action="restart"),
    Event(number=3, at_s=math.inf, action="kill"),
)


def test_each_time_comes_once_in_order():
    strikes = Strikes(EVENTS, -1.0)
    assert strikes.next_s == 0.5
    assert strikes.to(0.4) == []
    assert strikes.to(1.0) == [(0.5, 2), (1.0, 0)]
    assert strikes.to(1.0) == []
    assert strikes.to(1.5) == [(1.5, 2)]


def test_of_times_that_were_missed_the_last_counts():
    strikes = Strikes(EVENTS, 0.9)
    assert strikes.to(7.7) == [(1.0, 0), (7.5, 2)]
    assert strikes.next_s == 8.5
