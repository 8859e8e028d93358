"""Turns that their holders keep: modules' own side, with the arbiter in this process."""

from __future__ import annotations

import asyncio
import fcntl
import gc
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from helpers.arbiters import Arbiters
from helpers.otter import wait_for

from net import asking
from net.leases import Lease
from net.turns import WANTED, kept
from otter_agent.leasing import doors
from otter_agent.leasing.arbiter import Arbiter
from otter_agent.leasing.fair import LONGEST_S
from otter_agent.leasing.words import Member

pytestmark = pytest.mark.timed

HOLDS = """
import os, sys, time
from net.leases import Lease
turn = Lease("gpu", sys.argv[1]).__enter__()
if not os.fork():  # a worker of its own, which outlives it
    time.sleep(1000)
print(os.getpid(), flush=True)
time.sleep(1000)
"""


class Serving(Arbiters):
    """One whose clock stands still unless it is set: nothing happens just because time passes."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.arbiter.close()
        self.now = 0.0
        self.arbiter = Arbiter(self.listener, clock=lambda: self.now)
        self.one, self.other = (
            Member(name=f"m/{name}", socket=str(folder / name), weight=0.5) for name in "ab"
        )
        self.tell(self.one, self.other)

    @contextmanager
    def serving(self) -> Iterator[None]:
        """In a thread; else nobody does."""
        over = threading.Event()

        def serve() -> None:
            while not over.is_set():
                self.arbiter.serve(0.005)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()


@pytest.fixture
def arbiter(tmp_path: Path) -> Iterator[Serving]:
    made = Serving(tmp_path)
    try:
        yield made
    finally:
        made.arbiter.close()
        made.listener.close()
        for link in [link for link in asking._idle if link.path.startswith(str(tmp_path))]:
            asking._idle.remove(link)
            link.close()


def waiting(arbiter: Serving, name: str) -> Callable[[], bool]:
    return lambda: any(h.name == name and h.waiting for h in arbiter.arbiter.report().held)


@contextmanager
def asks(path: str, had: list[str], thing: str = "gpu") -> Iterator[None]:
    """Another module, which asks for one turn in a thread."""

    def take() -> None:
        with Lease(thing, path):
            had.append("had")

    thread = threading.Thread(target=take, daemon=True)
    thread.start()
    try:
        yield
    finally:
        thread.join(10)
        assert not thread.is_alive()


def test_while_nobody_else_wants_one_the_arbiter_hears_of_no_turn(arbiter: Serving) -> None:
    """It isn't even running, and all turns are counted."""
    turn = Lease("gpu", arbiter.one.socket)
    with arbiter.serving(), turn:
        assert turn.shared
    for _ in range(100):
        with turn:
            assert turn.shared

    async def awaits() -> None:
        for _ in range(100):
            async with turn:
                assert turn.shared

    asyncio.run(awaits())
    arbiter.now = 1000.0
    (held,) = arbiter.arbiter.report().held
    assert (held.turns, held.waiting, held.holds_s) == (201, 0, None)
    assert 0 < held.held_s < 100


def test_what_is_kept_is_anothers_as_soon_as_it_asks(arbiter: Serving) -> None:
    turn, other = Lease("gpu", arbiter.one.socket), Lease("gpu", arbiter.other.socket)
    with arbiter.serving():
        with turn:
            pass
        for _ in range(3):
            with other:
                pass
            with turn:
                pass
    assert {h.name: h.turns for h in arbiter.arbiter.report().held} == {"m/a": 4, "m/b": 3}


def test_who_is_told_that_others_wait_leaves_its_turn_to_them(arbiter: Serving) -> None:
    turn, had = Lease("gpu", arbiter.one.socket), list[str]()
    with arbiter.serving():
        with turn, asks(arbiter.other.socket, had):
            wait_for(waiting(arbiter, "m/b"), "the other's request")
            arbiter.now = 0.1  # its slice is over
            wait_for(lambda: _said(turn) == WANTED, "word of it")
            assert had == []
            turn.__exit__(None, None, None)
        assert had == ["had"]
        arbiter.now = 0.2
        with turn:
            assert turn.shared


def _said(turn: Lease) -> int:
    link = turn._link
    assert link is not None
    assert link._kept is not None
    return link._kept.said


def test_a_killed_holders_turn_is_the_next_ones_though_no_time_has_passed(
    arbiter: Serving,
) -> None:
    """Its connection has ended: also if it leaves processes that it had forked."""
    had = list[str]()
    command = [sys.executable, "-c", HOLDS, arbiter.one.socket]
    with (
        arbiter.serving(),
        subprocess.Popen(command, stdout=subprocess.PIPE, process_group=0) as holder,
    ):
        try:
            assert holder.stdout is not None
            assert int(holder.stdout.readline()) == holder.pid
            with asks(arbiter.other.socket, had):
                wait_for(waiting(arbiter, "m/b"), "the other's request")
                assert had == []
                os.kill(holder.pid, signal.SIGKILL)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(holder.pid, signal.SIGKILL)
    assert had == ["had"]


def test_one_that_hangs_loses_its_turn_and_learns_of_it_at_its_end(arbiter: Serving) -> None:
    turn, had = Lease("gpu", arbiter.one.socket), list[str]()
    with arbiter.serving():
        with turn:
            arbiter.now = 1000.0  # as long as it likes, while nobody waits
            with asks(arbiter.other.socket, had):
                wait_for(waiting(arbiter, "m/b"), "the other's request")
                assert had == []
                arbiter.now += LONGEST_S
        assert (had, turn.revoked) == (["had"], 1)
        with turn:
            assert turn.shared
    assert turn.revoked == 1


def test_a_killed_arbiters_turns_are_nobodys(arbiter: Serving, tmp_path: Path) -> None:
    turn = Lease("gpu", arbiter.one.socket)
    with arbiter.serving(), turn:
        pass
    (link,) = asking._idle[-1:]
    link._seen_s -= 1.0  # it was looked at a while ago
    arbiter.arbiter.close()
    with turn:
        assert not turn.shared


def test_a_holder_that_spoils_what_it_is_given_holds_up_nobody(arbiter: Serving) -> None:
    turn, other = Lease("gpu", arbiter.one.socket), Lease("gpu", arbiter.other.socket)
    with arbiter.serving():
        with turn:
            link = turn._link
            assert link is not None
            assert link._kept is not None
            token = link._kept.token
            fcntl.fcntl(token, fcntl.F_SETFL, 0)  # who reads it waits
            had, others = list[str](), list[str]()
            with asks(arbiter.other.socket, had):
                wait_for(waiting(arbiter, "m/b"), "the other's request")
                try:
                    with asks(arbiter.other.socket, others, "npu"):
                        pass
                finally:
                    os.eventfd_write(token, 1 << 40)
                assert (had, others) == ([], ["had"])
                arbiter.now = 1.0
        with other:
            assert had == ["had"]


def test_what_cannot_be_kept_closes_its_token_once() -> None:
    """By the second time the number is somebody else's."""
    token, empty = os.eventfd(0), os.memfd_create("empty")
    with pytest.raises(ValueError, match="length") as raised:
        kept(token, empty)
    os.dup2(empty, token)
    del raised
    gc.collect()
    os.fstat(token)
    os.close(token)
    os.close(empty)


def test_without_descriptors_turns_are_asked_for_one_by_one(
    arbiter: Serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    def made() -> None:
        raise OSError("too many open files")

    monkeypatch.setattr(doors, "made", made)
    turn = Lease("gpu", arbiter.one.socket)
    with arbiter.serving():
        for _ in range(3):
            with turn:
                assert turn.shared
        wait_for(lambda: arbiter.arbiter.report().held[0].holds_s is None, "the last one's end")
    assert arbiter.arbiter.report().held[0].turns == 3


def test_things_have_turns_of_their_own(arbiter: Serving) -> None:
    gpu, npu = (Lease(thing, arbiter.one.socket) for thing in ("gpu", "npu"))
    with arbiter.serving():
        for _ in range(3):
            with gpu, npu:
                assert gpu.shared
                assert npu.shared
    assert [(h.what, h.turns) for h in arbiter.arbiter.report().held] == [("gpu", 3), ("npu", 3)]
