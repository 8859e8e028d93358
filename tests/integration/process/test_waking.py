"""What a message takes between two processes of this machine: measured by two processes."""

from __future__ import annotations

import math

import pytest

from otter_agent import waking


async def test_two_processes_tell_what_a_message_takes_between_them(monkeypatch):
    monkeypatch.setattr(waking, "BUSY_CORES", math.inf)
    assert 10e-6 < await waking.measured() < 1


async def test_nothing_is_learnt_of_a_machine_that_is_busy(monkeypatch):
    monkeypatch.setattr(waking, "BUSY_CORES", -1)
    with pytest.raises(ValueError, match=r"of its cores were busy"):
        await waking.measured()


async def test_a_sender_that_ends_is_no_measurement(monkeypatch):
    monkeypatch.setattr(waking.sys, "executable", "/bin/false")
    with pytest.raises(OSError, match="the process that sends ended with status 1"):
        await waking.measured()


def test_what_is_busy_or_fails_is_an_error_of_the_system(monkeypatch):
    monkeypatch.setattr(waking.sys, "executable", "/bin/false")
    with pytest.raises(OSError, match="returned non-zero exit status 1"):
        waking.measured_apart()
