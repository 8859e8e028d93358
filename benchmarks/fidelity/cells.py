"""Cells: what members that all have something to send get of a medium, and together.

Each has sent more than can have left by then; counted is what arrives, by the kernel's times, from
when all have begun until the first has nothing left. Either driver; what a driver can't share
(members of different efficiency, in the kernel) is left out.
"""

from __future__ import annotations

import contextlib
import heapq
import math
import socket
import statistics
import struct
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from benchmarks.fidelity import probes, timers
from benchmarks.fidelity.case import Result, row
from net.links.spec import LinkSpec
from otter_agent.links.base import Direction
from tests.helpers.link_bench import Bench, Link

RATE_BPS = 20e6
SIZE = 1250
EACH, RUNS = 1000, 3
_PART = 50
_TIME = struct.Struct("=qq")
_QUIET_S = 0.5
Member = tuple[Link, Direction]


@dataclass(frozen=True, slots=True)
class Case:
    """Of four directions.

    Attributes:
        weights: Of each.
        rates: What each has while it sends, of the capacity.
        both_ways: Of two members, there and back, instead of four members.
    """

    weights: tuple[float, ...] = (1.0,) * 4
    rates: tuple[float, ...] = (1.0,) * 4
    both_ways: bool = False

    def asked(self) -> list[LinkSpec]:
        """Of each direction."""
        whole = LinkSpec(rate_bps=RATE_BPS, medium="cell", queue_packets=2 * EACH)
        return [
            replace(whole, rate_bps=RATE_BPS * rate, medium_weight=weight)
            for weight, rate in zip(self.weights, self.rates, strict=True)
        ]

    def takes_s(self) -> list[float]:
        """For how long a packet of each has the medium."""
        return [SIZE * 8 / (RATE_BPS * rate) for rate in self.rates]


CASES = {
    "4 members alike": Case(),
    "4 members of weights 1 to 4": Case(weights=(1.0, 2.0, 3.0, 4.0)),
    "2 members, half duplex": Case(both_ways=True),
    "4 members of efficiency 1 and 0.5": Case(rates=(1.0, 0.5, 1.0, 0.5)),
}


@dataclass(frozen=True, slots=True)
class Shared:
    """What came of a case.

    Attributes:
        error: Of the share that is furthest off, of itself.
        ahead: Beyond the capacity x time since the first was sent, together; in packets of the
            quickest member.
        together: The same within any time.
    """

    error: float
    ahead: float
    together: float


def run(bench: Bench, quick: bool, driver: str = "") -> Result:
    """All that the driver can share."""
    result = Result()
    for name, case in CASES.items():
        if bench.driver.conflicts(case.asked()):
            continue
        with timers.bare() as bare:
            found = [shared(bench, case, EACH // 5 if quick else EACH) for _ in range(RUNS)]
        errors = sorted(one.error for one in found)
        note = f"median {statistics.median(errors):.2%}"
        what = f"{driver}cell, {name}, worst of {RUNS} runs"
        ahead, together = (max(getattr(one, f) for one in found) for f in ("ahead", "together"))
        at_once = bare.packets(RATE_BPS, SIZE)
        whole = f"{what}: packets ahead of the capacity"
        result.rows += [
            row(f"{what}: error of a share", "1", errors[-1], 0.03, RUNS, note=note),
            row(f"{whole} since the first was sent", "1", ahead, 2.0, RUNS),
            row(f"{whole} within any time", "1", together, 2.0, RUNS, limit=at_once),
        ]
    return result


def shared(bench: Bench, case: Case, each: int) -> Shared:
    """Of one run."""
    with members(bench, case) as found:
        sent = time.time()
        for _ in range(0, each, _PART):
            for link, direction in found:
                bench.send(link, direction, _PART, size=SIZE)
        return judged(sent, _arrivals(found), case.weights, case.takes_s())


def judged(
    sent: float,
    times: Sequence[Sequence[float]],
    weights: Sequence[float],
    takes_s: Sequence[float],
) -> Shared:
    """Shares are those from when each has begun until the first has nothing left. Pure.

    Args:
        sent: When the first packet was.
        times: When packets came, by member.
        weights: Of the medium's time.
        takes_s: For how long a packet of each has the medium.
    """
    begun, ended = max(one[0] for one in times), min(one[-1] for one in times)
    asked = [weight / takes for weight, takes in zip(weights, takes_s, strict=True)]
    counts = [sum(begun <= at <= ended for at in one) for one in times]
    whole = sum(counts) / sum(asked)
    error = max(abs(count / (whole * one) - 1) for count, one in zip(counts, asked, strict=True))
    ahead_s = together_s = used_s = 0.0
    least_s = math.inf
    for at, who in heapq.merge(*([(at, n) for at in one] for n, one in enumerate(times))):
        least_s = min(least_s, used_s - (at - sent))
        used_s += takes_s[who]
        ahead_s = max(ahead_s, used_s - (at - sent))
        together_s = max(together_s, used_s - (at - sent) - least_s)
    return Shared(error, ahead_s / min(takes_s), together_s / min(takes_s))


@contextlib.contextmanager
def members(bench: Bench, case: Case) -> Iterator[list[Member]]:
    """Links that meet at one host, and what is to be shared."""
    with Bench(bench.driver) as own:
        first = own.make_link("cells")
        count = len(case.weights) // (2 if case.both_ways else 1)
        links = [first, *(own.make_link("cells", hub=first) for _ in range(count - 1))]
        found = [(link, link.there) for link in links]
        found += [(link, link.back) for link in links if case.both_ways]
        asked = {d: spec for (_, d), spec in zip(found, case.asked(), strict=True)}
        assert not [str(one.error) for one in own.driver.apply(asked).values() if one.error]
        with probes.stamping([link.ends(direction)[1] for link, direction in found]):
            yield found


def _arrivals(found: Sequence[Member]) -> list[list[float]]:
    """When packets came, by member, until none does for a while; sockets have room for all."""
    receivers = [link.ends(direction)[1] for link, direction in found]
    times: list[list[float]] = [[] for _ in found]
    heard = time.monotonic()
    while time.monotonic() < heard + _QUIET_S:
        before = sum(map(len, times))
        for receiver, came in zip(receivers, times, strict=True):
            _take(receiver, came)
        if sum(map(len, times)) > before:
            heard = time.monotonic()
        time.sleep(0.02)
    return times


def _take(receiver: socket.socket, came: list[float]) -> None:
    with contextlib.suppress(BlockingIOError):
        while True:
            _, extra, _, _ = receiver.recvmsg(2048, 256)
            seconds, nanoseconds = _TIME.unpack(extra[0][2])
            came.append(seconds + nanoseconds / 1e9)
