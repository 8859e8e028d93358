"""Cells in the kernel: what backlogged members get of a medium, and what changes cost them.

Four members whose links meet at one host. Rows count what arrives, as those of the other driver do
(`fidelity/cells.py`); the picture has what the kernel's queues counted.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace

from benchmarks.fidelity import cells
from benchmarks.row import Row
from net.links.spec import LinkSpec
from otter_agent.links.base import Direction
from otter_agent.links.netem import NetemDriver
from tests.helpers.link_bench import Bench, Link

WEIGHTS = (1.0, 2.0, 3.0, 4.0)
_RATE_BPS, _SIZE, _EACH, _WINDOW_S = 10e6, 1250, 1500, 1.5
_CHANGES = 200
_CELL = LinkSpec(rate_bps=_RATE_BPS, medium="cell", queue_packets=10_000)


def rows() -> list[Row]:
    """Errors of shares at the receivers, of their sum, and what changes lose."""
    with contextlib.closing(NetemDriver()) as driver, Bench(driver) as bench:
        driver.probe()
        found = cells.run(bench, False, "netem: ").rows
    return [*found, _row(f"netem: packets lost by {_CHANGES} changes of a cell", _lost(), 0.0)]


def shares(weights: Sequence[float]) -> tuple[list[float], float]:
    """Of what all got together; and that, of the capacity."""
    with _members(weights) as (bench, members):
        for link, direction in members:
            bench.send(link, direction, _EACH, size=_SIZE)
        ways = [direction for _, direction in members]
        begun, before = time.monotonic(), bench.driver.counters(ways)
        time.sleep(_WINDOW_S)
        ended, after = time.monotonic(), bench.driver.counters(ways)
        got = [after[way].bytes - before[way].bytes for way in ways]
        assert all(after[way].waiting_packets > 10 for way in ways), "somebody had sent all"
    total = sum(got)
    return [one / total for one in got], total * 8 / (ended - begun) / _RATE_BPS


def _lost() -> float:
    """While capacity and weights change, and nothing else would lose any."""
    with _members((1.0,) * 2) as (bench, members):
        for link, direction in members:
            bench.send(link, direction, 500, size=_SIZE)
        for number in range(_CHANGES):
            spec = replace(_CELL, rate_bps=_RATE_BPS * (1 + number % 3), delay_s=0.001 * number)
            weighed = replace(spec, medium_weight=1.0 + number % 5)
            bench.driver.apply({members[0][1]: spec, members[1][1]: weighed})
        for _, direction in members:
            bench.settle(direction, 500, lambda: time.sleep(0.01))
        return 1000.0 - sum(bench.counters(direction).packets for _, direction in members)


@contextlib.contextmanager
def _members(weights: Sequence[float]) -> Iterator[tuple[Bench, list[tuple[Link, Direction]]]]:
    with contextlib.closing(NetemDriver()) as driver, Bench(driver) as bench:
        first = bench.make_link()
        links = [first, *(bench.make_link(hub=first) for _ in weights[1:])]
        asked = {
            link.there: replace(_CELL, medium_weight=weight)
            for link, weight in zip(links, weights, strict=True)
        }
        assert not [str(one.error) for one in driver.apply(asked).values() if one.error]
        yield bench, [(link, link.there) for link in links]


def _row(name: str, ours: float, goal: float) -> Row:
    return {
        "name": name, "unit": "1", "better": "lower", "ours": ours, "peers": {}, "limit": None,
        "goal": goal, "n": 1,
    }  # fmt: skip
