"""One TCP connection over a rate: what its receiver gets of it.

Counted is what comes out of the receiving socket, so nothing twice, by the time it does, without
the start and the end; each 1448 bytes of it came in a packet of 1500. For max(10 s, 500 packets),
three connections of a rate; slow ones run beside each other, a link each. All by CUBIC: BBR, which
some machines have instead, stops for 0.2 s of each 10 to see how long the way is (2 %).
"""

from __future__ import annotations

import statistics
import subprocess
import threading
import time
from collections.abc import Sequence

from benchmarks.fidelity.case import row
from benchmarks.row import Row
from net.links.spec import LinkSpec
from tests.helpers.link_bench import Bench, Link, tcp_copy

RATES_BPS = ((1e5, 1e6, 1e7), (1e8,), (5e8,))
"""Those of a group run beside each other where the machine can carry that."""
RUNS = 3
DELAY_S = 0.01
_PACKET, _PAYLOAD = 1500, 1448
_LEAST_S, _LEAST_PACKETS = 10.0, 500
_QUEUE_S, _QUEUE_PACKETS = 0.1, 10
_CONGESTION = "cubic"
_BEGINS, _ENDS = 0.1, 0.98
"""Of the bytes: the part in between is steady."""
Shares = dict[float, list[float]]
"""Rate -> what each connection had of it."""


def measured(
    bench: Bench, quick: bool, groups: Sequence[Sequence[float]] = RATES_BPS, most: float = 3.5e8
) -> Shares:
    """Of all rates.

    Args:
        bench: Of the driver.
        quick: A fraction of it.
        groups: Rates whose connections run beside each other.
        most: Bit/s that can be had at once.
    """
    found: Shares = {}
    runs = 1 if quick else RUNS
    for group in groups:
        together = runs * sum(group) <= most
        for _ in range(1 if together else runs):
            for rate_bps, shares in _beside(bench, group, runs if together else 1, quick).items():
                found.setdefault(rate_bps, []).extend(shares)
    return found


def rows(found: Shares, driver: str = "") -> list[Row]:
    """What is judged is the worst connection of each rate."""
    made = []
    for rate_bps, shares in found.items():
        errors = sorted(abs(share - 1) for share in shares)
        name = f"{driver}TCP at {rate_bps / 1e6:g} Mbit/s, {2 * DELAY_S * 1e3:g} ms there and back"
        what = f"{name}: error of the goodput at its receiver, worst of {len(errors)}"
        note = f"median {statistics.median(errors):.2%}"
        made.append(row(what, "1", errors[-1], 0.02, len(errors), note=note))
    return made


def _beside(bench: Bench, rates: Sequence[float], runs: int, quick: bool) -> Shares:
    """So many connections of each at the same time."""
    found: Shares = {rate_bps: [] for rate_bps in rates}
    longest_s = max(_lasting_s(rate_bps, quick) for rate_bps in rates)
    with Bench(bench.driver) as own:
        links = [(rate_bps, own.make_link("tcp")) for rate_bps in rates for _ in range(runs)]
        for rate_bps, link in links:
            _cut(own, link)
            queue_s = max(_QUEUE_S, _QUEUE_PACKETS * _PACKET * 8 / rate_bps)
            asked = LinkSpec(rate_bps=rate_bps, delay_s=DELAY_S, queue_s=queue_s)
            own.apply(link.there, asked)
            own.apply(link.back, LinkSpec(delay_s=DELAY_S))

        def carry(rate_bps: float, link: Link) -> None:
            share = _goodput(link, int(rate_bps / 8 * longest_s)) / rate_bps
            found[rate_bps].append(share)  # a list takes it from any thread

        threads = [threading.Thread(target=carry, args=one) for one in links]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    return found


def _lasting_s(rate_bps: float, quick: bool) -> float:
    if quick:
        return 3.0
    steady_s = max(_LEAST_S, _LEAST_PACKETS * _PACKET * 8 / rate_bps)
    return steady_s / (_ENDS - _BEGINS)


def _goodput(link: Link, count: int) -> float:
    """Bit/s of IP packets."""
    came: list[tuple[float, int]] = []
    tcp_copy(link, count, lambda got: came.append((time.monotonic(), got)), _CONGESTION)
    steady = [(at, got) for at, got in came if _BEGINS * count <= got <= _ENDS * count]
    (begun, before), (ended, after) = steady[0], steady[-1]
    return (after - before) * 8 / (ended - begun) * _PACKET / _PAYLOAD


def _cut(bench: Bench, link: Link) -> None:
    """As the agent does at modules where links take what TCP hands over at once for one packet."""
    if bench.driver.cuts_nothing:
        for netns in (link.there.source_netns, link.there.target_netns):
            argv = ["ip", "-n", netns, "link", "set", "dev", link.there.device, "gso_max_segs", "1"]
            subprocess.run(argv, check=True)
