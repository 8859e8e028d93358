import pytest
from hypothesis import given
from hypothesis import strategies as st

from net.links import queue
from net.links.spec import LinkSpec


@pytest.mark.parametrize(
    ("spec", "limit"),
    [
        (LinkSpec(), queue.Limit()),
        (LinkSpec(queue_packets=5), queue.Limit()),
        (LinkSpec(rate_bps=8e6, queue_packets=5), queue.Limit(packets=5)),
        (LinkSpec(rate_bps=8e6, queue_bytes=5), queue.Limit(bytes=5)),
        (LinkSpec(rate_bps=8e6, queue_s=0.1), queue.Limit(bytes=100_000)),
        (LinkSpec(rate_bps=8e6, queue_s=1e-6), queue.Limit(bytes=1500)),
        (LinkSpec(rate_bps=80e6), queue.Limit(bytes=500_000)),
        (LinkSpec(rate_bps=5e3), queue.Limit(bytes=15_000)),
        (LinkSpec(rate_bps=80e6, queue_discipline="codel"), queue.Limit(bytes=5_000_000)),
        (LinkSpec(rate_bps=80e6, queue_discipline="red"), queue.Limit(bytes=2_000_000)),
    ],
)
def test_a_queue_is_what_was_asked_or_a_sensible_one(spec, limit):
    assert queue.limit(spec) == limit


@given(rate=st.floats(1, 1e12), size=st.integers(1, 10**9))
def test_red_begins_below_where_it_ends(rate, size):
    for spec in (
        LinkSpec(rate_bps=rate, queue_discipline="red"),
        LinkSpec(rate_bps=rate, queue_discipline="red", queue_bytes=size),
        LinkSpec(rate_bps=rate, queue_discipline="red", queue_packets=size),
    ):
        red = queue.red(spec)
        assert 0 < 2 * red.min_bytes <= red.max_bytes
        assert 1 <= red.weight_log2 <= 31
