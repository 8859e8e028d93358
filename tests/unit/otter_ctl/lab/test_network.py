"""How a lab's networks are chosen: one lab at a time, whoever else is on this computer."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

import pytest

from otter_ctl.lab import network


def test_nobody_else_can_hold_a_lab_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lock = tmp_path / "lock"
    monkeypatch.setattr(network, "CHOOSING", str(lock))
    with network.choosing():
        assert lock.stat().st_mode & 0o777 == 0o600
        other = os.open(lock, os.O_RDWR)
        with pytest.raises(BlockingIOError):
            fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
    fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
    os.close(other)
