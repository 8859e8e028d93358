"""What each delivery promises while its source, middle and sink are killed (SIGKILL), at random.

Beside them each processor has other work, so that nobody is done before somebody is killed.
"""

from __future__ import annotations

import collections
import contextlib
import os
import random
import select
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from helpers import chain

KILLS = int(os.environ.get("OTTER_KILLS", "6"))
"""Of each module; `make test-kills` has more."""
DEADLINE_S = 120.0
ROLES = ("source", "middle", "sink")

pytestmark = [
    pytest.mark.timeout(max(400, 10 * KILLS)), pytest.mark.slow, pytest.mark.aside,
]  # fmt: skip


def free_ports():
    """Two, below those that the kernel gives to who connects: listeners come back to them often."""
    found = []
    for port in random.SystemRandom().sample(range(20_000, 32_000), 100):
        with socket.socket() as sock, contextlib.suppress(OSError):
            sock.bind((chain.HERE, port))
            found.append(port)
        if len(found) == 2:
            return found
    raise AssertionError("no ports are free")


class Chain:
    """The modules that run, and how to kill one."""

    def __init__(self, folder: Path, delivery: str, transport: str) -> None:
        self.folder = folder
        first, second = free_ports()
        self.nursery = subprocess.Popen(
            [sys.executable, chain.__file__, folder, delivery, transport, str(first), str(second)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        self.load = [self.start("load") for _ in os.sched_getaffinity(0)]
        self.pids = {role: self.start(role) for role in ROLES}

    def start(self, role: str) -> int:
        assert self.nursery.stdin is not None
        assert self.nursery.stdout is not None
        self.nursery.stdin.write(f"{role}\n")
        self.nursery.stdin.flush()
        return int(self.nursery.stdout.readline())

    def kill(self, role: str) -> None:
        os.kill(self.pids[role], signal.SIGKILL)
        self.gone(role)
        self.pids[role] = self.start(role)

    def gone(self, role: str) -> None:
        """Wait for the end of a module."""
        with contextlib.suppress(ProcessLookupError):  # it has ended already
            ended = os.pidfd_open(self.pids[role])
            try:
                assert select.select([ended], [], [], DEADLINE_S)[0], f"the {role} doesn't end"
            finally:
                os.close(ended)

    def lines(self, name: str) -> list[str]:
        path = self.folder / name
        return path.read_text().splitlines() if path.exists() else []

    def progress(self, name: str, beyond: int) -> int:
        """Wait until more lines than that are in a file."""
        deadline = time.monotonic() + DEADLINE_S
        while (count := len(self.lines(name))) <= beyond:
            assert time.monotonic() < deadline, f"{name} stays at {count}"
            time.sleep(0.001)  # another process writes it
        return count

    def finish(self) -> None:
        """Let the source end in order."""
        (self.folder / "stop").touch()
        self.gone("source")

    def close(self) -> None:
        for pid in (*self.pids.values(), *self.load):
            with contextlib.suppress(ProcessLookupError):  # it has ended already
                os.kill(pid, signal.SIGKILL)
        assert self.nursery.stdin is not None
        assert self.nursery.stdout is not None
        self.nursery.stdin.close()
        self.nursery.stdout.close()
        self.nursery.wait(DEADLINE_S)


@pytest.fixture
def run(tmp_path):
    started = []

    def start(delivery, transport):
        started.append(Chain(tmp_path, delivery, transport))
        return started[-1]

    yield start
    for each in started:
        each.close()


def kill_each(modules: Chain, seed: int) -> None:
    """Whoever it is, at any moment of its work: between two kills the sink gets on a little."""
    chance, heard = random.Random(seed), 0
    turns = [role for role in ROLES for _ in range(KILLS)]
    chance.shuffle(turns)
    for role in turns:
        heard = modules.progress("heard", heard + chance.randrange(3 * chain.FLUSH_EVERY))
        modules.kill(role)
    modules.progress("heard", heard)
    modules.finish()


@pytest.mark.parametrize("transport", ["tcp", "shm"])
def test_exactly_once_over_a_chain(run, transport):
    modules = run("exactly-once", transport)
    kill_each(modules, 1)
    acknowledged = [int(line) for line in modules.lines("acknowledged")]
    heard = collections.Counter(int(line.split()[1]) for line in modules.lines("heard"))
    assert acknowledged == list(range(len(acknowledged)))
    assert [n for n in acknowledged if heard[2 * n] != 1] == []
    assert [n for n, count in heard.items() if count > 1] == []
    assert len(acknowledged) > KILLS


@pytest.mark.parametrize("transport", ["tcp", "shm"])
def test_at_least_once_loses_nothing_that_was_acknowledged(run, transport):
    """By either hop: what the middle was done with it had taken, and the sink has it."""
    modules = run("at-least-once", transport)
    kill_each(modules, 2)
    acknowledged = {int(line) for line in modules.lines("acknowledged")}
    taken = {int(line.split()[1]) for line in modules.lines("taken")}
    heard = {int(line.split()[1]) for line in modules.lines("heard")}
    assert acknowledged - taken == set()
    assert {2 * n for n in acknowledged} - heard == set()
    assert len(acknowledged) > KILLS


@pytest.mark.parametrize("transport", ["tcp", "udp", "shm"])
def test_at_most_once_repeats_nothing(run, transport):
    modules = run("at-most-once", transport)
    kill_each(modules, 3)
    for hop in ("taken", "heard"):
        ids = collections.Counter(line.split()[0] for line in modules.lines(hop))
        assert [name for name, count in ids.items() if count > 1] == []
        assert len(ids) > KILLS
