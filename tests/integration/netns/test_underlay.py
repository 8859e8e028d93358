"""The network between two machines, measured over loopback: by who has the key alone."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest

from otter_agent import api, underlay

pytestmark = pytest.mark.timed

KEY, MTU = "ab" * 16, 1500


@contextmanager
def answering(key: str = KEY) -> Iterator[tuple[str, int]]:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind(("127.0.0.1", 0))
    where = sock.getsockname()
    thread = threading.Thread(target=underlay.answer, args=(sock, key, MTU, 2.0))
    thread.start()
    try:
        yield where
    finally:
        thread.join(10)
        assert not thread.is_alive()


def test_delay_and_rate_both_ways_in_a_bounded_time() -> None:
    begun = time.monotonic()
    with answering() as where:
        found = underlay.measure("127.0.0.1", where, KEY, MTU)
    assert found.error == ""
    assert found.rtt_s is not None
    assert 0 < found.rtt_s < 0.1
    for rate in (found.forth_bps, found.back_bps):
        assert rate is not None
        assert rate > 1e6
    assert time.monotonic() - begun < 1.9  # told that it is over, who answers doesn't wait


def test_who_has_not_the_key_gets_no_answer() -> None:
    with answering() as where:
        found = underlay.measure("127.0.0.1", where, "cd" * 16, MTU)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            for junk in (b"", b"\1" * 16, b"\6" + bytes(15), bytes(2000)):
                sock.sendto(junk, where)
            sock.settimeout(0.05)
            with suppress(TimeoutError):
                assert not sock.recv(2000)
    assert found == api.Measured(error="no answer")
