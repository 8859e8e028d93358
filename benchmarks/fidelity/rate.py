"""Rates of 0.1 to 500 Mbit/s: what is delivered of UDP and TCP, and how far ahead of the rate.

UDP is offered a third too fast, over max(10 s, 500 packets), and counted at the receiving socket by
the kernel's times; the slow rates run beside each other. TCP is in `tcp.py`. The peer is the
kernel's token bucket (`tc tbf`) with the burst that one would type, on a veth pair.
"""

from __future__ import annotations

import statistics
import subprocess
import threading
import time
from collections.abc import Sequence
from typing import NamedTuple

from benchmarks.fidelity import probes, tcp, timers
from benchmarks.fidelity.case import Result, row
from benchmarks.plots import Line, Panel
from net.links.spec import LinkSpec
from otter_agent.links.fake import FakeLinks
from tests.helpers.link_bench import Bench, Link

SLOW_BPS = (1e5, 3e5, 1e6, 3e6, 1e7)
FAST_BPS = (3e7, 1e8, 2.5e8, 5e8)
PEER_BPS = (1e6, 1e7, 1e8, 5e8)
SIZE = 1500
LEAST_S, LEAST_PACKETS = 10.0, 500
_QUEUE_S, _QUEUE_PACKETS = 0.05, 100
"""It mustn't run empty while who sends isn't let: that would be his rate, not the link's."""
_PEER = "tc tbf"


def run(bench: Bench, quick: bool) -> Result:
    """UDP, TCP, bursts."""
    least_s, packets = (1.0, 50) if quick else (LEAST_S, LEAST_PACKETS)
    ours = _delivered(bench, SLOW_BPS, packets * SIZE * 8 / SLOW_BPS[0])
    for rate_bps in FAST_BPS:
        ours |= _delivered(bench, (rate_bps,), least_s)
    peer = _peers(least_s * 0.3)
    result = Result()
    for rate_bps, found in ours.items():
        name = f"UDP at {rate_bps / 1e6:g} Mbit/s"
        theirs = {_PEER: peer[rate_bps]} if rate_bps in peer else {}
        errors = {who: abs(its.share - 1) for who, its in theirs.items()}
        ahead = {who: its.ahead for who, its in theirs.items()}
        together = {who: its.together for who, its in theirs.items()}
        error, count = abs(found.share - 1), found.packets
        what = f"{name}: packets ahead of the rate"
        result.rows += [
            row(f"{name}: error of what is delivered", "1", error, 0.02, count, peers=errors),
            row(f"{what} since the first was sent", "1", found.ahead, 2.0, count, peers=ahead),
            row(
                f"{what} within any time",
                "1",
                found.together,
                2.0,
                count,
                peers=together,
                limit=found.limit,
            ),
        ]
    carried = tcp.measured(bench, quick)
    result.rows += tcp.rows(carried)
    medians = {rate_bps: statistics.median(shares) for rate_bps, shares in carried.items()}
    result.panels.append(_panel(ours, medians, peer))
    return result


class Delivered(NamedTuple):
    """What came of a rate.

    Attributes:
        share: Of the rate, from the first arrival to the last.
        ahead: Packets that had come by any moment beyond the rate, since the first was sent.
        together: The same of any time: a helper that is late makes up for that.
        packets: How many came.
        limit: How many at once come due while a bare timer is late, at most, in the same seconds;
            None: nobody looked.
    """

    share: float
    ahead: float
    together: float
    packets: int
    limit: float | None


Found = dict[float, Delivered]
"""By rate."""


def _panel(ours: Found, carried: dict[float, float], peer: Found) -> Panel:
    ends = [min(ours) / 1e6, max(ours) / 1e6]

    def line(label: str, found: dict[float, float], kind: str) -> Line:
        ys = [(share - 1) * 100 for share in found.values()]
        xs = [rate / 1e6 for rate in found]
        return Line(label, "ours" if kind == "ours" else "peer", xs, ys, points=True)

    return Panel(
        "Rates: what is delivered",
        "asked, Mbit/s",
        "error, %",
        [
            line("UDP", {rate: found.share for rate, found in ours.items()}, "ours"),
            line("TCP, at its receiver", carried, "ours"),
            line(f"UDP, {_PEER}", {rate: found.share for rate, found in peer.items()}, "peer"),
            Line("±2 %", "bound", ends, [2.0, 2.0]),
            Line("", "bound", ends, [-2.0, -2.0]),
        ],
        "x",
    )


def _delivered(bench: Bench, rates: Sequence[float], lasting_s: float) -> Found:
    """Beside each other, a link each."""
    with Bench(bench.driver) as own:
        links = {rate: own.make_link("rates") for rate in rates}
        for rate, link in links.items():
            own.apply(link.there, LinkSpec(rate_bps=rate, queue_packets=_queue(rate)))
        return _measured(links, lasting_s)


def _measured(links: dict[float, Link], lasting_s: float) -> Found:
    done = threading.Event()
    arrivals: dict[float, list[tuple[int, float, float]]] = {rate: [] for rate in links}
    with timers.bare() as late, probes.stamped(list(links.values())):
        threads = [
            threading.Thread(target=_offer, args=(link, rate, done)) for rate, link in links.items()
        ]
        for thread in threads:
            thread.start()
        end = time.monotonic() + lasting_s + 0.5
        while time.monotonic() < end:
            for rate, link in links.items():
                arrivals[rate] += probes.arrived(link)
            time.sleep(0.02)
        done.set()
        for thread in threads:
            thread.join()
    return {rate: came(found, rate, late) for rate, found in arrivals.items()}


def _queue(rate: float) -> int:
    """Packets."""
    return max(_QUEUE_PACKETS, round(_QUEUE_S * rate / 8 / SIZE))


def came(
    arrivals: Sequence[tuple[int, float, float]], rate: float, late: timers.Late | None = None
) -> Delivered:
    """Of full packets (number, sent, arrived), in the order in which they came."""
    each_s = SIZE * 8 / rate
    times, start = [at for *_, at in arrivals], arrivals[0][1]
    share = (len(times) - 1) * each_s / (times[-1] - times[0])
    ahead = together = 0.0
    latest = times[0]  # of a packet, against the rate: who comes after it may be ahead by that
    for number, at in enumerate(times):
        ahead = max(ahead, number + 1 - (at - start) / each_s)
        latest = max(latest, at - number * each_s)
        together = max(together, (latest - (at - number * each_s)) / each_s + 1)
    limit = None if late is None else late.packets(rate, SIZE)
    return Delivered(share, ahead, together, len(times), limit)


def _offer(link: Link, rate: float, done: threading.Event) -> None:
    """A third more than the rate."""
    together = 10 if rate > 2e7 else 1
    each_s = together * SIZE * 8 / (1.33 * rate)
    due, number = time.monotonic(), 0
    while not done.is_set():
        probes.train(link, range(number, number + together), SIZE, together)
        number += together
        due = max(due + each_s, time.monotonic() - 0.05)
        done.wait(max(0.0, due - time.monotonic()))


def _peers(lasting_s: float) -> Found:
    """The same through the kernel's token bucket."""
    found: Found = {}
    with Bench(FakeLinks()) as bench:
        for rate in PEER_BPS:
            link = bench.make_link()
            burst = max(1600, round(rate / 8 / 250))
            argv = ["tc", "-n", link.there.source_netns, "qdisc", "add", "dev", link.there.device]
            limit = _queue(rate) * SIZE
            shape = f"root tbf rate {rate:.0f}bit burst {burst} limit {limit}".split()
            subprocess.run([*argv, *shape], check=True, capture_output=True)
            found |= _measured({rate: link}, lasting_s)
            bench.remove(link)
    return found
