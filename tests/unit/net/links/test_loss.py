from itertools import groupby, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from net.links import loss
from net.links.chance import chances
from net.links.spec import LinkSpec

COUNT = 200_000


def flags(spec: LinkSpec, count: int = COUNT) -> list[bool]:
    lost = loss.loss(spec, chances(7, "link")("loss"))
    assert lost is not None
    return [lost() for _ in range(count)]


def share(hits: list[bool]) -> float:
    return sum(hits) / len(hits)


def correlation(hits: list[bool]) -> float:
    mean = share(hits)
    pairs = pairwise(hits)
    both = sum((a - mean) * (b - mean) for a, b in pairs) / (len(hits) - 1)
    return both / (mean * (1 - mean))


def burst_mean(hits: list[bool]) -> float:
    bursts = [sum(1 for _ in group) for lost, group in groupby(hits) if lost]
    return sum(bursts) / len(bursts)


@pytest.mark.parametrize("spec", [LinkSpec(), LinkSpec(loss_ratio=0.0), LinkSpec(up=False)])
def test_without_loss_there_is_no_model_of_it(spec):
    assert loss.loss(spec, lambda: 0.0) is None


def test_a_ratio_of_one_loses_all():
    assert all(flags(LinkSpec(loss_ratio=1.0), 1000))


@pytest.mark.slow
@pytest.mark.parametrize("ratio", [0.001, 0.01, 0.1, 0.5])
def test_independent_losses_have_their_ratio_and_no_memory(ratio):
    hits = flags(LinkSpec(loss_ratio=ratio))
    assert share(hits) == pytest.approx(ratio, abs=3.3 * (ratio * (1 - ratio) / COUNT) ** 0.5)
    assert correlation(hits) == pytest.approx(0.0, abs=0.01)


@pytest.mark.slow
@pytest.mark.parametrize("ratio", [0.01, 0.3])
@pytest.mark.parametrize("asked", [0.25, 0.8])
def test_correlated_losses_have_the_ratio_and_the_correlation(ratio, asked):
    hits = flags(LinkSpec(loss_ratio=ratio, loss_correlation=asked))
    assert share(hits) == pytest.approx(ratio, rel=0.08)
    assert correlation(hits) == pytest.approx(asked, abs=0.03)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("p", "r", "bad", "good"), [(0.01, 0.25, 1.0, 0.0), (0.05, 0.5, 0.7, 0.01), (0.2, 0.1, 1, 0)]
)
def test_gilbert_and_elliott_lose_the_share_that_theory_says(p, r, bad, good):
    hits = flags(LinkSpec(loss_gilbert=(p, r, bad, good)))
    assert share(hits) == pytest.approx((p * bad + r * good) / (p + r), rel=0.03)
    if (bad, good) == (1.0, 0.0):
        assert burst_mean(hits) == pytest.approx(1 / r, rel=0.03)


@pytest.mark.slow
def test_four_states_lose_the_share_that_theory_says():
    p13, p31, p32, p23, p14 = 0.02, 0.3, 0.1, 0.4, 0.01
    hits = flags(LinkSpec(loss_markov=(p13, p31, p32, p23, p14)))
    # Stationary: what flows into each state flows out of it.
    one = 1.0
    three = p13 / p31
    four, two = p14 * one, three * p32 / p23
    assert share(hits) == pytest.approx((three + four) / (one + two + three + four), rel=0.03)


@pytest.mark.slow
def test_four_states_without_a_burst_lose_single_packets_only():
    assert burst_mean(flags(LinkSpec(loss_markov=(0.0, 1.0, 0.0, 0.0, 0.1)))) == 1.0


@pytest.mark.slow
@given(
    spec=st.one_of(
        st.builds(LinkSpec, loss_ratio=st.floats(0, 1), loss_correlation=st.floats(0, 1)),
        st.builds(LinkSpec, loss_gilbert=st.tuples(*[st.floats(0, 1)] * 4)),
        st.builds(LinkSpec, loss_markov=st.tuples(*[st.floats(0, 0.5)] * 5)),
    ),
    seed=st.integers(0, 2**64),
)
def test_a_seed_says_which_packets_are_lost(spec, seed):
    runs = []
    for _ in range(2):
        lost = loss.loss(spec, chances(seed)("loss"))
        runs.append([lost is not None and lost() for _ in range(50)])
    assert runs[0] == runs[1]
