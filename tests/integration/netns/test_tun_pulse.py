"""Who hangs and who is only kept from running, told of real processes by their pulse."""

from __future__ import annotations

import os
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers.link_bench import wait_until

from otter_agent.links.tun.pulse import HANGS_S, Heart, Watched, path_of

pytestmark = pytest.mark.timed

SPIN = "while True: pass"
SLEEP = "import time; time.sleep(1000)"


@pytest.fixture
def started() -> Iterator[list[subprocess.Popen[bytes]]]:
    made: list[subprocess.Popen[bytes]] = []
    yield made
    for process in made:
        process.kill()
        process.wait()


def beat_once(socket: Path, pid: int) -> None:
    """As if it had beaten now, for the last time."""
    Heart(socket)
    page = path_of(socket)
    page.write_bytes(struct.pack("=dq", time.monotonic(), pid) + bytes(page.stat().st_size - 16))


def watch(socket: Path, pid: int, for_s: float) -> bool:
    """Whether it is said to hang within some time, looking as the driver does."""
    watched = Watched(socket, pid)
    deadline = time.monotonic() + for_s
    said: list[bool] = []
    wait_until(lambda: said.append(watched.hangs(time.monotonic())) or said[-1] or _past(deadline))
    watched.close()
    return said[-1]


def _past(deadline: float) -> bool:
    return time.monotonic() > deadline


@pytest.mark.parametrize("program", [SPIN, SLEEP])
def test_one_that_runs_round_or_waits_for_something_hangs(tmp_path: Path, started, program: str):
    started.append(subprocess.Popen([sys.executable, "-S", "-c", program]))
    beat_once(tmp_path / "links.s", started[0].pid)
    assert watch(tmp_path / "links.s", started[0].pid, 20.0)


def test_one_that_is_stopped_hangs(tmp_path: Path, started):
    started.append(subprocess.Popen([sys.executable, "-S", "-c", SLEEP]))
    started[0].send_signal(signal.SIGSTOP)
    beat_once(tmp_path / "links.s", started[0].pid)
    assert watch(tmp_path / "links.s", started[0].pid, 20.0)


def test_one_whom_others_keep_from_running_does_not(tmp_path: Path, started):
    """It would not be better for being killed, and all that is under way would be lost."""
    core = {max(os.sched_getaffinity(0))}
    for _ in range(2):
        started.append(subprocess.Popen([sys.executable, "-S", "-c", SPIN]))
        os.sched_setaffinity(started[-1].pid, core)
    os.sched_setscheduler(started[0].pid, os.SCHED_IDLE, os.sched_param(0))
    beat_once(tmp_path / "links.s", started[0].pid)
    assert not watch(tmp_path / "links.s", started[0].pid, HANGS_S + 0.8)


def test_another_ones_pulse_tells_nothing(tmp_path: Path):
    beat_once(tmp_path / "links.s", 1)
    assert not watch(tmp_path / "links.s", os.getpid(), HANGS_S + 0.3)
    assert Watched(tmp_path / "none.s", os.getpid()).last_s == 0.0
