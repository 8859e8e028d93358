"""Intervals hold the true value as often as they say."""

from __future__ import annotations

import numpy as np
import pytest

from net.links.verify import intervals

RUNS = 300


def hits(make, interval, true):
    """In how many of `RUNS` samples the interval holds the true value."""
    found = (interval(make(np.random.default_rng(seed))) for seed in range(RUNS))
    return sum(one.low <= true <= one.high for one in found)


# Of 300 with chance 0.99 fewer than 291 hold once in a thousand.
ENOUGH = 291


@pytest.mark.parametrize("n", [8, 50, 999])
def test_the_median_is_where_its_interval_says(n):
    def skewed(generator):
        return generator.exponential(1.0, n)

    assert hits(skewed, intervals.median, np.log(2)) >= ENOUGH


def test_the_interval_of_few_values_is_their_range():
    found = intervals.median(np.array([3.0, 1.0, 2.0]))
    assert (found.low, found.value, found.high, found.n) == (1.0, 2.0, 3.0, 3)
    assert intervals.median(np.empty(0)) is None


def test_the_interval_narrows_with_more_values():
    generator = np.random.default_rng(1)
    few, more = (intervals.median(generator.normal(size=n)) for n in (100, 10_000))
    assert more.high - more.low < (few.high - few.low) / 5


@pytest.mark.slow
def test_the_spread_is_where_its_interval_says():
    # A percentile bootstrap is a little short: 0.98 rather than 0.99 at this size.
    assert hits(lambda g: g.normal(0, 2, 300), intervals.spread, 2.0) >= 285


@pytest.mark.parametrize(
    ("count", "n", "low", "high"),
    [
        (0, 10, 0.0, 0.4113),
        (5, 10, 0.1283, 0.8717),
        (10, 10, 0.5887, 1.0),
        (10, 1000, 0.00372, 0.02136),
    ],
)
def test_proportions_are_those_of_the_published_tables(count, n, low, high):
    """Exact 99 % limits: Pearson and Hartley, Biometrika Tables, table 41; R's binom.test."""
    found = intervals.proportion(count, n)
    assert found.value == count / n
    assert found.low == pytest.approx(low, abs=2e-4)
    assert found.high == pytest.approx(high, abs=2e-4)


@pytest.mark.slow
@pytest.mark.parametrize("chance", [0.001, 0.02, 0.3])
def test_proportions_hold_the_chance(chance):
    def losses(generator):
        return int(generator.binomial(2000, chance))

    assert hits(losses, lambda count: intervals.proportion(count, 2000), chance) >= ENOUGH


def test_what_comes_in_bursts_tells_less():
    alone, bursts = intervals.proportion(100, 1000), intervals.proportion(100, 1000, 10.0)
    assert bursts.value == alone.value
    assert bursts.low < alone.low
    assert bursts.high > alone.high


@pytest.mark.parametrize(
    ("count", "n", "inflation"), [(1, 1000, 50.0), (999, 1000, 50.0), (3, 7, 99)]
)
def test_intervals_hold_what_was_measured_however_little_it_tells(count, n, inflation):
    found = intervals.proportion(count, n, inflation)
    assert 0 <= found.low <= count / n <= found.high <= 1


def test_no_observation_is_no_proportion():
    assert intervals.proportion(0, 0) is None


@pytest.mark.slow
def test_means_of_dependent_values_are_where_their_interval_says():
    def walk(generator):  # each value remembers the last
        steps = generator.normal(size=4000)
        values = np.zeros(4000)
        for i in range(1, 4000):
            values[i] = 0.7 * values[i - 1] + steps[i]
        return values

    found = [intervals.mean(walk(np.random.default_rng(seed))) for seed in range(60)]
    assert sum(one.low <= 0 <= one.high for one in found) >= 56
    assert intervals.mean(np.arange(10.0)) is None


def test_one_distribution_is_told_from_another():
    generator = np.random.default_rng(3)
    normal, model = generator.normal(5, 1, 1000), generator.normal(0, 1, 20_000)
    assert intervals.same_distribution(normal, model)[1] > 0.01
    assert intervals.same_distribution(generator.uniform(-1.7, 1.7, 1000), model)[1] < 0.01
    assert intervals.same_distribution(2 * normal, model)[1] < 0.01


@pytest.mark.slow
def test_the_same_distribution_is_seldom_told_to_be_another():
    wrong = 0
    for seed in range(200):
        generator = np.random.default_rng(seed)
        one, model = generator.normal(size=200), generator.normal(size=5000)
        _, chance = intervals.same_distribution(one, model)
        wrong += chance < 0.01
    assert wrong <= 6
