"""A machine in memory touches nothing of this computer's network."""

from __future__ import annotations

import threading
from pathlib import Path

from otter_agent import api
from otter_agent.fake import RATE_BPS, machine


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
