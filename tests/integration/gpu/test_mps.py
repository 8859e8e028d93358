"""NVIDIA's MPS, by a stand-in for its daemon: started, asked and ended by the agent alone."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from helpers import mps as standin
from helpers.otter import wait_for

from otter_agent.gpu.mps import PID_FILE, Mps


@pytest.fixture
def mps(tmp_path: Path):
    made = Mps(tmp_path / "mps", standin.PATH)
    yield made
    made.end()
    assert made.pid() is None


def test_it_is_started_once_and_ended_with_its_folders(mps: Mps):
    assert mps.trouble() == "its control daemon doesn't run"
    assert mps.start() == ""
    pid = mps.pid()
    assert pid is not None
    assert mps.start() == ""
    assert mps.pid() == pid
    mps.end()
    assert mps.pid() is None
    assert not mps.pipe.parent.exists()


def test_the_next_agent_finds_it(mps: Mps, tmp_path: Path):
    assert mps.start() == ""
    other = Mps(tmp_path / "mps", standin.PATH)
    assert other.pid() == mps.pid()
    assert other.start() == ""


def test_one_that_was_killed_is_told_and_another_takes_its_place(mps: Mps):
    assert mps.start() == ""
    pid = mps.pid()
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    wait_for(lambda: mps.pid() is None, "the killed daemon")
    assert mps.trouble() == "its control daemon doesn't run"
    assert mps.start() == ""
    assert mps.pid() not in (None, pid)


def test_a_pid_of_another_is_neither_asked_nor_ended(mps: Mps):
    mps.pipe.mkdir(parents=True)
    (mps.pipe / PID_FILE).write_text(str(os.getpid()))
    assert mps.trouble() == "its control daemon doesn't run"
    mps.end()  # it is us


def test_why_it_does_not_begin_is_its_own_word(mps: Mps, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("MPS_STANDIN", "refuses")
    assert mps.start().endswith("Failed to initialize MPS: no CUDA-capable device is detected")


def test_without_its_program_that_is_a_plain_fact(tmp_path: Path):
    nowhere = Mps(tmp_path / "mps", str(tmp_path))
    assert nowhere.lack() == nowhere.start() == "nvidia-cuda-mps-control isn't installed"
    nowhere.end()
