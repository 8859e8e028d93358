"""The network between two machines, measured over loopback: by who has the key alone."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import pytest
from helpers.otter import wait_for

from otter_agent import api, underlay

pytestmark = pytest.mark.timed

KEY, MTU = "ab" * 16, 1500


@contextmanager
def answering(for_s: float = 60.0) -> Iterator[tuple[str, int]]:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind(("127.0.0.1", 0))
    where = sock.getsockname()
    thread = threading.Thread(target=underlay.answer, args=(sock, KEY, MTU, for_s))
    thread.start()
    try:
        yield where
    finally:
        thread.join(30)  # told that it is over, it doesn't wait for its end
        assert not thread.is_alive()


@contextmanager
def ends() -> Iterator[tuple[underlay._End, underlay._End, tuple[str, int]]]:
    """Two with the key, and where the first one is."""
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as ours,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as theirs,
    ):
        ours.bind(("127.0.0.1", 0))
        made = (underlay._End(one, KEY, MTU) for one in (ours, theirs))
        yield (*made, ours.getsockname())


def test_delay_and_rate_both_ways() -> None:
    with answering() as where:
        found = underlay.measure("127.0.0.1", where, KEY, MTU)
    assert found.error == ""
    assert found.rtt_s is not None
    assert 0 < found.rtt_s < 0.1
    for rate in (found.forth_bps, found.back_bps):
        assert rate is not None
        assert rate > 1e6


def telling(rates: list[float | None]) -> Callable[..., float | None]:
    left = iter(rates)
    return lambda *_: next(left)


@pytest.mark.parametrize("wrong", [0, 1, 2])
@pytest.mark.parametrize("rate", [1e3, 1e12, None])
def test_a_train_that_somebody_stood_still_at_is_not_believed(
    monkeypatch: pytest.MonkeyPatch, wrong: int, rate: float | None
) -> None:
    rates: dict[str, list[float | None]] = {"_report": [20e6] * 3, "_train": [30e6] * 3}
    for name, each in rates.items():
        each[wrong] = rate
        monkeypatch.setattr(underlay, name, telling(each))
    with answering() as where:
        found = underlay.measure("127.0.0.1", where, KEY, MTU)
    assert (found.forth_bps, found.back_bps) == (20e6, 30e6)


def test_who_reads_late_knows_when_it_came() -> None:
    with ends() as (ours, theirs, where):
        wait_for(lambda: comes_before(ours, theirs, where), "the kernel notes when packets come")
        theirs.tell(where, underlay._TRAIN, 1)
        begun = time.monotonic()
        time.sleep(0.2)
        least_s = time.monotonic() - begun
        for _ in range(3):
            theirs.tell(where, underlay._TRAIN, 1)
        theirs.tell(where, underlay._END, 1)
        rate = underlay._train(ours, 1, 10.0)
    size = len(ours.packed(underlay._TRAIN)) + underlay._IP_UDP_BYTES
    assert rate is not None
    assert rate <= 3 * size * 8 / (least_s - 0.01)


def comes_before(ours: underlay._End, theirs: underlay._End, where: tuple[str, int]) -> bool:
    """Whether a packet has come before it is read: the kernel begins to note that a little late."""
    theirs.tell(where, underlay._ECHO)
    sent_s = time.monotonic()
    [(said, _, _)] = ours.heard(10.0)
    return said.came_s < sent_s


def test_the_end_of_an_earlier_train_ends_no_other() -> None:
    with ends() as (ours, theirs, where):
        theirs.tell(where, underlay._END, 0)  # it is said three times
        for _ in range(3):
            theirs.tell(where, underlay._TRAIN, 1)
        theirs.tell(where, underlay._END, 1)
        assert underlay._train(ours, 1, 10.0) is not None


def test_the_rate_of_an_earlier_train_is_of_no_other() -> None:
    with ends() as (ours, theirs, where):
        for number, rate in ((0, 1e6), (0, 1e6), (1, 2e6)):
            told = underlay._REPORT.pack(rate, 0.0)
            theirs.tell(where, underlay._REPORTED, number, told)
        assert underlay._report(ours, where, 1, 10.0) == 2e6


def test_who_has_not_the_key_gets_no_answer() -> None:
    with answering(for_s=2.0) as where:
        found = underlay.measure("127.0.0.1", where, "cd" * 16, MTU)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            for junk in (b"", b"\1" * 16, b"\6" + bytes(15), bytes(2000)):
                sock.sendto(junk, where)
            sock.settimeout(0.05)
            with suppress(TimeoutError):
                assert not sock.recv(2000)
    assert found == api.Measured(error="no answer")
