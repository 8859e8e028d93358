"""Counters of a stream's end, and where the time of its messages went."""

from __future__ import annotations

import json

import numpy as np
import pytest

from net.messages import Message
from net.stats import PARTS, EdgeStats, Latencies


def message(start=1000.0, parts=(0.001, 0.002, 0.004, 0.008)):
    made, queued, sent, received, taken = np.cumsum((start, *parts)).tolist()
    one = Message(None, 1, 7, 1, None, made, queued, sent, 0.0, 100)
    one.received, one.taken = received, taken
    return one


def test_the_time_is_split_at_the_five_moments():
    stats = EdgeStats("a.x>b.y", "tcp")
    for _ in range(3):
        stats.took(message())
    found = stats.summary(0.0)
    assert (found["messages"], found["bytes"]) == (3, 300)
    means = {part: each["mean_s"] for part, each in found["latency"].items()}
    assert means == pytest.approx(
        {"output": 0.001, "sending": 0.002, "link": 0.004, "queue": 0.008, "total": 0.015}, rel=1e-3
    )
    assert tuple(means) == PARTS
    assert json.loads(json.dumps(found)) == found


def test_percentiles_are_right_within_a_factor_of_two_and_never_over_the_most():
    latencies = Latencies()
    seconds = np.linspace(0, 1, 1001)
    latencies.add(seconds[:500])
    latencies.add(seconds[500:])
    assert latencies.n == 1001
    assert 0.5 <= latencies.percentile(0.5) <= 1.0
    assert latencies.percentile(0.99) <= latencies.percentile(1.0) <= 1.0
    assert latencies.summary()["max_s"] == 1.0


def test_two_clocks_that_disagree_count_as_no_time_and_an_age_as_the_last_bucket():
    latencies = Latencies()
    latencies.add(np.array([-5.0, 1e12]))
    assert latencies.counts[0] == 1
    assert latencies.counts[-1] == 1


def test_rates_are_of_the_last_second_or_longer():
    stats = EdgeStats("a.x>b.y", "tcp")
    rates = []
    for now, messages in ((10.0, 0), (11.0, 50), (11.1, 5), (13.0, 40), (14.0, 0), (3.0, 7)):
        for _ in range(messages):
            stats.sent(10)
        found = stats.summary(now)
        rates.append((found["rate_per_s"], found["bytes_per_s"]))
    assert rates[0] == (0, 0)
    assert rates[1] == rates[2] == (50, 500)
    assert rates[3] == (22.5, 225)
    assert rates[4] == rates[5] == (0, 0)  # the clock was set back: no nonsense
