"""What is left to chance: loss, its bursts, jitter; against the distribution that was asked for."""

from __future__ import annotations

import math
import random
import time
from collections.abc import Sequence
from functools import partial

from benchmarks.fidelity import probes
from benchmarks.fidelity.case import Result, row
from benchmarks.plots import Line, Panel, cumulative
from net.links import jitter
from net.links.spec import Distribution, LinkSpec
from tests.helpers.link_bench import Bench, Link, handled

LOSSES = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3)
SENT = 100_000
IN_BURSTS = 400_000
"""Enough of the longest bursts to tell 5 %."""
GILBERT = ((0.01, 0.5), (0.02, 0.2), (0.01, 0.1), (0.01, 0.05))
"""Chances of going bad and of going good again: bursts of 1/r, all lost while bad."""
DISTRIBUTIONS: tuple[Distribution, ...] = ("uniform", "normal", "pareto", "paretonormal")
DELAY_S, JITTER_S = 0.05, 0.01
JITTERED = 600
_TOGETHER, _SIZE = 40, 60
_Z99, _KS99 = 2.576, 1.63


def run(bench: Bench, quick: bool) -> Result:
    """Loss, bursts, jitter."""
    result = Result()
    _losses(bench, result, SENT // 20 if quick else SENT)
    _bursts(bench, result, SENT // 20 if quick else IN_BURSTS)
    _jitter(bench, result, JITTERED // 20 if quick else JITTERED)
    return result


def _losses(bench: Bench, result: Result, count: int) -> None:
    link, found = bench.make_link(), []
    for ratio in LOSSES:
        bench.apply(link.there, LinkSpec(loss_ratio=ratio))
        lost = sum(_lost(bench, link, count)) / count
        found.append(lost)
        spread = math.sqrt(ratio * (1 - ratio) / count)
        name = f"loss of {ratio:.1%}: off by so many standard deviations of chance"
        note = "the 99 % binomial interval is 2.58 wide each way"
        far = abs(lost - ratio) / spread
        result.rows.append(row(name, "1", far, _Z99, count, note=note))
    ends = [LOSSES[0], LOSSES[-1]]
    lines = [
        Line("asked", "asked", ends, ends),
        Line("measured", "ours", LOSSES, found, points=True),
    ]
    title = f"Loss, {count} packets each"
    result.panels.append(Panel(title, "asked", "measured", lines, "xy"))


def _bursts(bench: Bench, result: Result, count: int) -> None:
    link, found = bench.make_link(), []
    for p, r in GILBERT:
        bench.apply(link.there, LinkSpec(loss_gilbert=(p, r, 1.0, 0.0)))
        lost = _lost(bench, link, count)
        begins = sum(b and not a for a, b in zip([False, *lost], lost, strict=False))
        found.append(sum(lost) / begins)
        name = f"Gilbert-Elliott, bursts of {1 / r:g} packets: error of their mean length"
        spread = math.sqrt(1 - r) / math.sqrt(begins)
        note = f"chance alone: {spread:.1%} (a standard deviation)"
        error = abs(found[-1] * r - 1)
        result.rows.append(row(name, "1", error, 0.05, begins, note=note))
    asked = [1 / r for _, r in GILBERT]
    lines = [
        Line("asked", "asked", [asked[0], asked[-1]], [asked[0], asked[-1]]),
        Line("measured", "ours", asked, found, points=True),
    ]
    result.panels.append(Panel("Gilbert-Elliott: losses in a row", "asked", "measured", lines))


def _lost(bench: Bench, link: Link, count: int) -> list[bool]:
    """Which packets never came, of those that were sent as fast as the link takes them."""
    part, got = 400, set[int]()
    before = handled(bench.counters(link.there))
    with probes.stamped([link]):
        for start in range(0, count, part):
            end = min(count, start + part)
            probes.train(link, range(start, end), _SIZE, _TOGETHER)
            # A part is shorter than the device's own queue: nothing is lost but by the link.
            bench.settle(link.there, before + end, partial(time.sleep, 0.001))
            got.update(number for number, *_ in probes.arrived(link))
        time.sleep(0.2)
        got.update(number for number, *_ in probes.arrived(link))
    overrun = bench.counters(link.there).dropped.get("overrun", 0)
    assert not overrun, f"{overrun} packets never reached the link: this machine is too slow"
    return [number not in got for number in range(count)]


def _jitter(bench: Bench, result: Result, count: int) -> None:
    """So seldom that none waits for the one before: order is kept.

    A delay's own error of 0.1 ms moves pareto's steep side by 2.6 % of its packets where the jitter
    is 10 ms. That is a third of the critical distance, and has its own rows (`delay.py`).
    """
    links: list[Link] = []
    for distribution in DISTRIBUTIONS:
        links.append(bench.make_link())
        spec = LinkSpec(delay_s=DELAY_S, jitter_s=JITTER_S, jitter_distribution=distribution)
        bench.apply(links[-1].there, spec)
    found = probes.probe(links, count, 0.03, DELAY_S * 3)
    lines: list[Line] = []
    bounds: list[Line] = []
    for distribution, arrivals in zip(DISTRIBUTIONS, found, strict=True):
        delays = sorted(at - sent for _, sent, at in arrivals)
        asked = _asked(distribution)
        critical = _KS99 * math.sqrt((len(delays) + len(asked)) / (len(delays) * len(asked)))
        name = f"jitter, {distribution}: distance from what was asked, of the 1 % critical one"
        note = "Kolmogorov and Smirnov, two samples"
        far = distance(delays, asked) / critical
        result.rows.append(row(name, "1", far, 1.0, len(delays), note=note))
        bounds.append(_curve("asked" if not bounds else "", "asked", asked))
        lines.append(_curve(distribution, "ours", delays))
    title = f"Jitter: {DELAY_S * 1e3:g} ms ± {JITTER_S * 1e3:g} ms, {count} packets each"
    panel = Panel(title, "delay, ms", "share of packets below", [*lines, *bounds])
    result.panels.append(panel)


def _curve(label: str, kind: str, values: Sequence[float]) -> Line:
    xs, ys = cumulative([value * 1e3 for value in values])
    return Line(label, "asked" if kind == "asked" else "ours", xs, ys)


def _asked(distribution: Distribution) -> list[float]:
    table, chance = jitter.table(distribution), random.Random(1)
    return sorted(max(0.0, DELAY_S + JITTER_S * chance.choice(table)) for _ in range(20_000))


def distance(one: Sequence[float], other: Sequence[float]) -> float:
    """Largest difference of two samples' cumulative distributions; both sorted."""
    most, i, j = 0.0, 0, 0
    while i < len(one) and j < len(other):
        if one[i] <= other[j]:
            i += 1
        else:
            j += 1
        most = max(most, abs(i / len(one) - j / len(other)))
    return most
