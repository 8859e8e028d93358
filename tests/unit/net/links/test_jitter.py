import statistics

import pytest

from net.links import jitter
from net.links.chance import chances
from net.links.spec import LinkSpec

COUNT = 100_000
NAMES = ["uniform", "normal", "pareto", "paretonormal"]


def drawn(spec: LinkSpec, count: int = COUNT) -> list[float]:
    next_one = jitter.deviation(spec, chances(7, "link")("jitter"))
    assert next_one is not None
    return [next_one() for _ in range(count)]


def distance(one: list[float], other: list[float]) -> float:
    """Kolmogorov and Smirnov's: the largest difference of two samples' distributions."""
    merged = sorted(
        [(value, 1 / len(one)) for value in one] + [(v, -1 / len(other)) for v in other]
    )
    total = worst = 0.0
    for number, (value, step) in enumerate(merged):
        total += step
        if number + 1 == len(merged) or merged[number + 1][0] != value:
            worst = max(worst, abs(total))
    return worst


@pytest.mark.parametrize("spec", [LinkSpec(), LinkSpec(delay_s=1.0), LinkSpec(jitter_s=0.0)])
def test_without_jitter_there_is_none(spec):
    assert jitter.deviation(spec, lambda: 0.5) is None


@pytest.mark.parametrize("name", NAMES[1:])
def test_a_table_has_the_mean_and_the_deviation_that_it_says(name):
    table = jitter.table(name)
    assert len(table) == jitter.ENTRIES
    assert list(table) == sorted(table)
    assert statistics.fmean(table) == pytest.approx(0.0, abs=1e-3)
    assert statistics.pstdev(table) == pytest.approx(1.0, abs=1e-3)
    assert -jitter.BOUND <= table[0] <= table[-1] <= jitter.BOUND


def test_uniform_is_as_wide_as_asked():
    values = drawn(LinkSpec(delay_s=1.0, jitter_s=0.2, jitter_distribution="uniform"))
    assert -0.2 <= min(values) <= -0.199
    assert 0.199 <= max(values) <= 0.2


def test_pareto_has_a_tail_on_one_side_and_normal_on_none():
    skew = {name: sum(x**3 for x in jitter.table(name)) for name in NAMES}
    assert skew["pareto"] > skew["paretonormal"] > 1000
    assert abs(skew["normal"]) < 1
    assert jitter.table("pareto")[0] > -1.2


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("correlation", [None, 0.5])
def test_what_is_drawn_is_distributed_as_the_table_says(name, correlation):
    spec = LinkSpec(
        delay_s=1.0, jitter_s=0.01, jitter_distribution=name, jitter_correlation=correlation
    )
    table = [0.01 * entry for entry in jitter.table(name)]
    # Beyond 1.36 sqrt(1/n) of an independent sample: 5 %; a correlated one says less.
    assert distance(drawn(spec), table) < 0.01


@pytest.mark.slow
def test_a_users_table_is_drawn_from_evenly():
    spec = LinkSpec(
        delay_s=1.0, jitter_s=0.1, jitter_distribution="table", jitter_table=(3.0, -1.0, 0.0)
    )
    values = drawn(spec)
    for entry in (-0.1, 0.0, 0.3):
        assert sum(abs(v - entry) < 1e-9 for v in values) == pytest.approx(COUNT / 3, rel=0.02)


@pytest.mark.slow
@pytest.mark.parametrize("asked", [0.2, 0.9])
def test_delays_are_as_correlated_as_asked(asked):
    values = drawn(LinkSpec(delay_s=1.0, jitter_s=0.01, jitter_correlation=asked))
    assert statistics.correlation(values, values[1:] + values[:1]) == pytest.approx(asked, abs=0.01)


def test_a_correlation_of_one_stays_where_it_began():
    values = drawn(LinkSpec(delay_s=1.0, jitter_s=0.01, jitter_correlation=1.0), 100)
    assert len(set(values)) == 1
