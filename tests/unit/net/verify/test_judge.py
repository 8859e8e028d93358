"""Links that do as asked are told to be right, links that don't to be wrong."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.crossing import cross, gilbert_losses

from net.links.delivery import Delivery
from net.links.spec import LinkSpec
from net.links.verify import schedule
from net.links.verify.expected import chain
from net.links.verify.judge import Judge, Measured, confirmed, send_rate, worth_repeating
from net.links.verify.schedule import EFFORTS
from net.links.verify.tolerances import Tolerance

NORMAL = EFFORTS["normal"]
LINKS = {
    "delay": LinkSpec(delay_s=0.02),
    "jitter": LinkSpec(delay_s=0.03, jitter_s=0.003),
    "loss": LinkSpec(loss_ratio=0.05),
    "rate": LinkSpec(rate_bps=5e6),
    "slow": LinkSpec(rate_bps=2e5, delay_s=0.1),
    "reorder": LinkSpec(delay_s=0.05, reorder_ratio=0.1),
    "duplicate": LinkSpec(delay_s=0.01, duplicate_ratio=0.02),
    "corrupt": LinkSpec(delay_s=0.01, corrupt_ratio=0.02),
    "all": LinkSpec(delay_s=0.04, jitter_s=0.002, loss_ratio=0.02, rate_bps=20e6),
    "down": LinkSpec(up=False),
}  # fmt: skip


def findings(asked, real, seed, lost=None, judge=None):
    """What is found on a link that does `real` and is asked to do `asked`."""
    trains = {
        "base": cross(schedule.base(asked, NORMAL, seed), real, seed),
        "many": cross(schedule.many(asked, NORMAL, seed), real, seed + 1, lost),
    }
    rate = schedule.rate(asked, NORMAL)
    speed = float("inf")
    if rate is not None:
        trains["rate"] = cross(rate, real, seed + 2)
        speed = send_rate(trains["rate"])
    return (judge or Judge()).findings(asked, Measured(trains, 0.0, speed))


def wrong(found):
    return {finding.property for finding in found if not finding.ok}


def twice(asked, real, seed):
    first = findings(asked, real, seed)
    if not worth_repeating(first):
        return first
    return confirmed(first, findings(asked, real, seed + 500))


@pytest.mark.slow
@pytest.mark.parametrize("name", LINKS)
def test_links_that_do_as_asked_pass_measured_twice_at_most(name):
    for seed in range(5):
        found = twice(LINKS[name], LINKS[name], seed)
        assert wrong(found) == set(), found


@pytest.mark.slow
@pytest.mark.parametrize(
    ("asked", "real", "out"),
    [
        (LinkSpec(delay_s=0.02), LinkSpec(delay_s=0.021), {"delay"}),
        (LinkSpec(delay_s=0.02), LinkSpec(), {"delay"}),
        (LinkSpec(delay_s=0.02), LinkSpec(delay_s=0.02, loss_ratio=0.01), {"loss"}),
        (LinkSpec(loss_ratio=0.05), LinkSpec(loss_ratio=0.02), {"loss"}),
        (LinkSpec(loss_ratio=0.05), LinkSpec(loss_ratio=0.09), {"loss"}),
        (LinkSpec(rate_bps=5e6), LinkSpec(rate_bps=4.8e6), {"rate"}),
        (LinkSpec(rate_bps=5e6), LinkSpec(), {"rate"}),
        (LINKS["jitter"], LinkSpec(delay_s=0.03), {"jitter", "jitter-shape"}),
        (LinkSpec(delay_s=0.03), LinkSpec(delay_s=0.03, duplicate_ratio=0.05), {"duplicate"}),
        (LinkSpec(delay_s=0.03, reorder_ratio=0.1), LinkSpec(delay_s=0.03), {"reorder"}),
        (LinkSpec(up=False), LinkSpec(), {"loss"}),
        (LinkSpec(), LinkSpec(), set()),
        (LinkSpec(), LinkSpec(loss_ratio=0.3, delay_s=1.0), set()),
    ],
)  # fmt: skip
def test_links_that_do_something_else_are_out_of_tolerance(asked, real, out):
    found = twice(asked, real, 7)
    assert wrong(found) == out, found


def test_a_dead_link_is_never_right():
    found = findings(LinkSpec(delay_s=0.01, rate_bps=1e6), LinkSpec(up=False), 1)
    assert wrong(found) == {"delay", "loss", "rate"}
    assert all(f.note for f in found if f.estimate is None and f.asked is not None)


@pytest.mark.slow
def test_bursts_of_gilbert_and_elliott():
    asked = LinkSpec(loss_gilbert=(0.02, 0.25, 1.0, 0.0))
    single = LinkSpec(loss_ratio=chain(asked).ratio)
    count = len(schedule.many(asked, NORMAL, 0).at_s)
    for seed in range(5):
        lost = gilbert_losses(asked.loss_gilbert, count, seed)
        assert "loss" not in wrong(findings(asked, LinkSpec(), seed, lost))
    bursty = gilbert_losses(asked.loss_gilbert, count, 1)
    assert wrong(findings(asked, LinkSpec(), 1, bursty)) == set()
    assert "loss-burst" in wrong(findings(asked, single, 1))


@pytest.mark.slow
@pytest.mark.parametrize(
    "chances", [(0.02, 0.25, 1.0, 0.0), (0.05, 0.3, 0.6, 0.01), (0.3, 0.9, 0.5, 0.1)]
)
def test_what_a_chain_loses_is_what_it_is_told_to_lose(chances):
    lost = gilbert_losses(chances, 200_000, 5)
    model = chain(LinkSpec(loss_gilbert=chances))
    edges = int((lost[1:] & ~lost[:-1]).sum())
    assert lost.mean() == pytest.approx(model.ratio, rel=0.05)
    assert lost.sum() / edges == pytest.approx(model.burst, rel=0.05)
    shares = np.array([part.mean() for part in np.split(lost, 400)])
    independent = model.ratio * (1 - model.ratio) / 500
    assert shares.var() / independent == pytest.approx(model.inflation, rel=0.25)


def test_four_states_without_bursts_are_independent_losses():
    model = chain(LinkSpec(loss_markov=(0.0, 0.0, 0.0, 0.0, 0.25)))
    assert model.ratio == pytest.approx(0.2)
    assert model.burst == pytest.approx(1.0)


@pytest.mark.slow
def test_other_tolerances_are_the_callers():
    asked, real = LinkSpec(delay_s=0.02), LinkSpec(delay_s=0.025)
    assert wrong(findings(asked, real, 1)) == {"delay"}
    judge = Judge({**Judge().tolerances, "delay": Tolerance(absolute=0.006)})
    assert wrong(findings(asked, real, 1, judge=judge)) == set()


@pytest.mark.slow
def test_out_once_is_not_out():
    asked, real = LinkSpec(delay_s=0.02), LinkSpec(delay_s=0.025)
    bad, good = findings(asked, real, 1), findings(asked, asked, 1)
    assert wrong(confirmed(bad, good)) == set()
    assert wrong(confirmed(good, bad)) == set()
    [delay] = [f for f in confirmed(bad, bad) if not f.ok]
    assert delay.note == "measured twice"


@pytest.mark.slow
def test_a_rate_that_this_machine_cannot_send_is_not_judged():
    asked = LinkSpec(rate_bps=5e6)
    trains = {
        "base": cross(schedule.base(asked, NORMAL, 1), asked, 1),
        "many": cross(schedule.many(asked, NORMAL, 1), asked, 1),
        "rate": cross(schedule.rate(LinkSpec(rate_bps=1e6), NORMAL), LinkSpec(), 1),
    }
    found = Judge().findings(asked, Measured(trains, 0.0, send_rate(trains["rate"])))
    [rate] = [f for f in found if f.property == "rate"]
    assert rate.ok
    assert "couldn't send faster" in rate.note


def test_correlated_losses_keep_their_share_and_come_in_bursts():
    model = chain(LinkSpec(loss_ratio=0.05, loss_correlation=0.5))
    assert model.ratio == pytest.approx(0.05)
    assert model.burst == pytest.approx(1 / (0.95 * 0.5))
    assert model.inflation == pytest.approx(1.5 / 0.5)


def test_half_the_width_is_asked_of_uniform_jitter():
    asked = LinkSpec(delay_s=0.03, jitter_s=0.003, jitter_distribution="uniform")
    jitter = next(f for f in findings(asked, asked, 1) if f.property == "jitter")
    assert jitter.asked == pytest.approx(0.003 / 3**0.5, rel=1e-3)


def test_where_a_trace_says_when_packets_leave_nothing_is_judged():
    asked = LinkSpec(rate_bps=1e6, delivery=Delivery(trace="ab"))
    found = findings(asked, LinkSpec(rate_bps=3e5, delay_s=0.05), 1)
    assert not wrong(found)
    assert {one.property for one in found} >= {"delay", "loss", "rate"}
    assert all("not judged" in one.note for one in found)
