"""What is counted in trains of packets, by hand."""

from __future__ import annotations

import numpy as np
import pytest

from net.links.verify import records
from net.links.verify.records import Probes

NEVER = np.nan


def probes(sent, came, sizes=100, copies=None, **more):
    count = len(sent)
    copies = [int(not np.isnan(one)) for one in came] if copies is None else copies
    return Probes(
        np.array(sent, float), np.broadcast_to(sizes, count).copy(), np.array(came, float),
        np.array(copies), **more,
    )  # fmt: skip


def test_delays_are_of_those_that_came_and_were_sent_at_a_known_time():
    found = probes([0, 1, 2], [0.5, NEVER, 2.25], exact=np.array([True, True, False]))
    assert found.delays().tolist() == [0.5]


def test_lost_in_a_row():
    found = probes(range(8), [NEVER, 1, NEVER, NEVER, NEVER, 5, 6, NEVER])
    assert found.lost == 5
    assert found.bursts() == [1, 3, 1]
    assert probes([0, 1], [0, 1]).bursts() == []


def test_damaged_ones_that_bear_no_number_are_not_lost():
    found = probes(range(4), [0, NEVER, NEVER, 3], damaged=1, unnamed=1)
    assert found.lost == 1


def test_those_that_overtake_are_counted_not_those_overtaken():
    # The third comes before the first two, the last after all.
    found = probes(range(4), [10.0, 11.0, 2.5, 12.0])
    assert found.overtakers() == 1
    assert probes(range(3), [1, NEVER, 2]).overtakers() == 0


def test_delays_of_two_sizes_give_the_delay_of_no_bytes():
    sizes = np.array([48, 400] * 10)
    sent = np.arange(20) * 1.0
    found = probes(sent, sent + 0.02 + sizes * 8 / 1e6, sizes)
    assert records.base_delays(found) == pytest.approx(np.full(20, 0.02))


def test_a_backlog_drains_at_the_rate():
    found = probes(np.zeros(101), np.arange(101) * 0.001, 1000)
    bits, took = records.drained(found, 0)
    assert bits.sum() / took.sum() == pytest.approx(8e6)
    bits, took = records.drained(found, 250, 0.0005)
    assert bits.sum() / took.sum() == pytest.approx(10e6)
    assert [len(part) for part in records.drained(probes([0], [1]), 0)] == [0, 0]


def test_where_the_sender_was_held_up_the_link_was_idle():
    came = np.concatenate((np.arange(51) * 0.001, 1 + np.arange(51) * 0.001))
    found = probes(np.repeat([0.0, 1.0], 51), came, 1000)
    bits, took = records.drained(found, 0, 0.0001)
    assert bits.sum() / took.sum() == pytest.approx(8e6)
    bits, took = records.drained(found, 0)
    assert bits.sum() / took.sum() < 1e6


def test_where_the_link_was_held_up_it_was_slow():
    came = np.concatenate((np.arange(51) * 0.001, 1 + np.arange(51) * 0.001))
    bits, took = records.drained(probes(np.zeros(102), came, 1000), 0, 0.0001)
    assert bits.sum() / took.sum() < 1e6


def test_what_comes_at_once_beyond_the_rate():
    found = probes(np.zeros(4), [1.0, 1.0, 1.0, 3.0], 1000)
    assert records.excess_bytes(found, 8000, 0) == 3000
    assert records.excess_bytes(found, 8e9, 0) == pytest.approx(3000)
    assert records.excess_bytes(probes(np.zeros(2), [0.0, 1.0], 1000), 8000, 0) == 1000
