"""Datagrams across a path that netem delays and lets lose: what arrives, not how fast."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from benchmarks import lossy

COUNT = 300
ARRAYS = ["--bytes", str(100 * 1024), "--count", str(COUNT), "--every", "0.03"]


@pytest.fixture
def path() -> Iterator[tuple[str, str]]:
    with lossy.path(["delay", "10ms", "loss", "5%"]) as ends:
        yield ends


def test_parity_of_a_quarter_completes_all_arrays(path: tuple[str, str]) -> None:
    found = lossy.exchange(path, "udp", [*ARRAYS, "--fec", "0.25"])
    counts, sent = found["counters"]["a>x"], found["sender"]["counters"]
    assert len(found["took_s"]) == COUNT
    assert found["bytes"] == COUNT * 100 * 1024
    assert counts["recovered"] > 0.02 * sent["datagrams"]
    assert sent["parity"] <= 0.25 * (sent["datagrams"] - sent["parity"] - sent["retransmitted"])
    assert found["sender"]["ended"]
    assert min(found["took_s"]) >= 0.010


def test_what_is_lost_is_sent_again(path: tuple[str, str]) -> None:
    found = lossy.exchange(path, "udp", ARRAYS)
    assert len(found["took_s"]) == COUNT
    assert (
        found["counters"]["a>x"]["retransmitted"] > 0.02 * found["sender"]["counters"]["datagrams"]
    )
