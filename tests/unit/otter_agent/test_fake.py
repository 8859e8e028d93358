"""A machine in memory touches nothing of this computer's network."""

from __future__ import annotations

import threading
from pathlib import Path

from otter_agent import api
from otter_agent.fake import FEW, RATE_BPS, machine, shares


def test_what_is_between_fake_machines_is_said_and_not_measured(tmp_path: Path) -> None:
    """A thousand of them would send gigabytes over this computer's loopback."""
    made, before = machine(1, tmp_path, "a" * 6), threading.active_count()
    there = made.underlay(api.Probing(local="127.79.0.2", key="0" * 32, mtu=1500))
    assert there.port
    assert threading.active_count() == before  # nobody listens
    asked = api.Probing(local="127.79.0.2", key="0" * 32, mtu=1500, remote="127.79.0.3", port=1)
    found = made.underlay(asked)
    assert found.forth_bps == found.back_bps == RATE_BPS
    assert found.rtt_s


def test_many_are_shared_out_over_the_processors() -> None:
    parts = shares(1000, 2)
    assert [len(part) for part in parts] == [500, 500]
    assert sorted(number for part in parts for number in part) == list(range(1, 1001))
    assert shares(2 * FEW - 1, 8) == [range(1, 2 * FEW)]  # few aren't worth another process
    assert shares(1, 8) == [range(1, 2)]
