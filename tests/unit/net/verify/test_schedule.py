"""Probes are polite: bounded in time and bytes, whatever the link."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from net.links.spec import LinkSpec
from net.links.verify import schedule
from net.links.verify.schedule import ABOVE, EFFORTS, LOAD

rates = st.none() | st.floats(1e3, 1e11)
links = st.builds(
    LinkSpec,
    rate_bps=rates,
    delay_s=st.floats(1, 3600),
    jitter_s=st.none() | st.floats(0, 1),
    loss_ratio=st.none() | st.floats(0, 1),
)
efforts = st.sampled_from(sorted(EFFORTS)).map(EFFORTS.__getitem__)


@pytest.mark.slow
@given(links, efforts, st.integers(0, 1 << 30))
def test_probes_that_are_not_to_wait_take_a_share_of_the_rate(link, effort, seed):
    for make, limit_s in ((schedule.base, effort.base_s), (schedule.many, effort.many_s)):
        train = make(link, effort, seed)
        took = float(train.at_s[-1])
        # Two packets are sent on any link, however slow: without them there is nothing to tell.
        assert took <= 6 * limit_s or len(train.at_s) == 2
        if link.rate_bps and len(train.at_s) > 20:
            assert train.bytes * 8 / took <= 2 * LOAD * link.rate_bps


@pytest.mark.slow
@given(links, efforts)
def test_a_rate_is_tried_for_a_bounded_time(link, effort):
    train = schedule.rate(link, effort)
    if link.rate_bps is None:
        assert train is None
        return
    took, passing = float(train.at_s[-1]), max(0.05, 1 - (link.loss_ratio or 0))
    assert took <= 4 * effort.rate_s or len(train.at_s) == 2
    assert train.bytes <= max(effort.rate_bytes, 20 * 1400)
    if len(train.at_s) > 2:
        pace = train.bytes * 8 / took * (1 - 1 / len(train.at_s))
        assert pace == pytest.approx(link.rate_bps * ABOVE / passing, rel=0.01)


def test_packets_have_no_beat():
    gaps = np.diff(schedule.base(LinkSpec(), EFFORTS["normal"], 1).at_s)
    assert gaps.std() > gaps.mean() / 5
    assert gaps.min() >= 0.0015


def test_a_seed_gives_the_same_probes_again():
    one, same, other = (schedule.base(LinkSpec(), EFFORTS["quick"], s).at_s for s in (1, 1, 2))
    assert (one == same).all()
    assert (one != other).any()


def test_probes_never_meet_each_other_by_jitter():
    link = LinkSpec(delay_s=0.1, jitter_s=0.01)
    assert np.diff(schedule.base(link, EFFORTS["normal"], 1).at_s).min() >= 4 * 0.01
