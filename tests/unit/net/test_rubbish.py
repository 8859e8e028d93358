"""Rubbish is told with peer and reason; who sends much of it fills nobody's log."""

from __future__ import annotations

import sys
from contextlib import suppress

import pytest

from net.rubbish import MOST_TOLD, TELL_EVERY_S, Rubbish


class World:
    def __init__(self):
        self.now, self.lines = 100.0, []
        self.rubbish = Rubbish("tcp", clock=lambda: self.now, tell=self.lines.append)


@pytest.fixture
def world():
    return World()


def test_a_peer_is_told_of_once_a_minute_and_counted_always(world):
    for _ in range(5):
        world.rubbish.came("10.0.0.7", "no stream of ours", at="10.0.0.1:9000")
    world.now += TELL_EVERY_S - 1
    world.rubbish.came("10.0.0.8", "other", at="10.0.0.1:9000")
    world.now += 1
    world.rubbish.came("10.0.0.7", "no input 'x' here")
    assert world.lines == [
        "tcp at 10.0.0.1:9000: refused 10.0.0.7: no stream of ours",
        "tcp at 10.0.0.1:9000: refused 10.0.0.8: other (4 before it were not told)",
        "tcp: refused 10.0.0.7: no input 'x' here",
    ]
    assert world.rubbish.summary() == {
        "transport": "tcp", "refused": 7, "peer": "10.0.0.7", "reason": "no input 'x' here"
    }  # fmt: skip


def test_addresses_that_somebody_makes_up_fill_neither_log_nor_memory(world):
    for number in range(10_000):
        world.rubbish.came(f"10.0.{number // 256}.{number % 256}", "noise")
    assert len(world.lines) == MOST_TOLD == len(world.rubbish._told)
    world.now += TELL_EVERY_S
    world.rubbish.came("10.0.0.1", "noise")
    assert world.lines[-1].endswith(f"noise ({10_000 - MOST_TOLD} before it were not told)")
    assert len(world.rubbish._told) == 1


def test_what_a_peer_has_a_say_in_stays_one_line(world):
    world.rubbish.came("", "no input 'x\notter: \x1b[2Jall is well' here" + "y" * 1000)
    (line,) = world.lines
    assert line.isprintable()
    assert line.startswith("tcp: refused a peer: no input 'x?otter: ?[2Jall is well' here")
    assert len(line) < 400


def test_a_log_that_takes_nothing_stops_no_stream(monkeypatch):
    rubbish = Rubbish("tcp")
    full = open("/dev/full", "w")  # noqa: SIM115
    monkeypatch.setattr(sys, "stderr", full)
    rubbish.came("10.0.0.7", "noise")
    with suppress(OSError):
        full.close()
    rubbish.came("10.0.0.8", "noise")
    assert rubbish.count == 2
