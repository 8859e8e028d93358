"""How a trace is played: looped, scaled, from an offset; any moment, asked in any order."""

from __future__ import annotations

import itertools
import math
from array import array

import pytest
from hypothesis import given
from hypothesis import strategies as st

from net.links.traces.generate import MODELS, Chance, Recipe, generate
from net.links.traces.mahimahi import binned
from net.links.traces.trace import LEAST_CORES, MTU_BYTES, Manner, Played, Scarcity, Trace

TRACE = Trace(
    array("d", [0.5, 1.0, 2.5]),
    {"rate_bps": array("d", [10e6, 20e6, 30e6]), "loss_ratio": array("d", [math.nan, 0.1, 0.6])},
    4.0,
)


def test_values_hold_until_the_next():
    played = Played(TRACE, Manner(loop=False))
    assert played.values(0.0) == {}
    assert played.values(0.5) == {"rate_bps": 10e6}
    assert played.values(2.4) == {"rate_bps": 20e6, "loss_ratio": 0.1}
    assert played.values(1e6) == {"rate_bps": 30e6, "loss_ratio": 0.6}
    assert moments(played, 0, 99) == [0.5, 1.0, 2.5]


def test_a_loop_goes_on_with_its_last_value_until_its_first():
    played = Played(TRACE)
    assert played.values(4.2) == {"rate_bps": 30e6, "loss_ratio": 0.6}
    assert played.values(4.5) == {"rate_bps": 10e6}
    assert moments(played, 0, 9) == [0.5, 1.0, 2.5, 4.5, 5.0, 6.5, 8.5]


def test_an_offset_begins_inside():
    played = Played(TRACE, Manner(offset_s=9.0))  # 1 s into the third time round
    assert played.values(0.0) == {"rate_bps": 20e6, "loss_ratio": 0.1}
    assert moments(played, 0.1, 4) == [1.5, 3.5]
    assert Played(TRACE, Manner(offset_s=9.0, loop=False)).values(0)["rate_bps"] == 30e6


def test_scales_of_values_and_of_time():
    manner = Manner(scale={"rate_bps": 0.5, "loss_ratio": 2.0, "time": 10.0})
    played = Played(TRACE, manner)
    assert played.values(25.0) == {"rate_bps": 15e6, "loss_ratio": 1.0}  # never above 100 %
    assert moments(played, 0, 30) == [5.0, 10.0, 25.0]


def test_what_it_doesn_t_touch_is_left_out():
    played = Played(TRACE, Manner(without=("rate_bps",)))
    assert played.fields == ("loss_ratio",)
    assert played.values(3.0) == {"loss_ratio": 0.6}
    nothing = Played(TRACE, Manner(without=("rate_bps", "loss_ratio")))
    assert nothing.next_change(0) == math.inf


def test_one_value_changes_once():
    played = Played(Trace(array("d", [1.0]), {"up": array("d", [0.0])}, 2.0))
    assert moments(played, 0, 99) == [1.0]


@pytest.mark.parametrize(
    "wrong",
    [
        ([], {"up": []}, 1.0),
        ([0.0, 0.0], {"up": [1, 1]}, 1.0),
        ([-1.0], {"up": [1]}, 1.0),
        ([0.0], {}, 1.0),
        ([0.0], {"queue": [1]}, 1.0),
        ([0.0], {"up": [1, 1]}, 1.0),
        ([0.0], {"loss_ratio": [1.5]}, 1.0),
        ([0.0], {"rate_bps": [math.inf]}, 1.0),
        ([0.0, 1.0], {"up": [1, 1]}, 1.0),
        ([0.0], {"up": [1]}, math.inf),
    ],
)
def test_traces_that_make_no_sense_can_t_be_made(wrong):
    times, columns, length = wrong
    with pytest.raises(ValueError):
        Trace(array("d", times), {n: array("d", c) for n, c in columns.items()}, length)


def moments(played: Played, start: float, end: float) -> list[float]:
    found, now = [], math.nextafter(start, -1)
    while (now := played.next_change(now)) < end:
        found.append(now)
    return found


steps = st.lists(st.floats(1e-6, 1e3), min_size=1, max_size=20)


@pytest.mark.slow
@given(
    steps=steps,
    start=st.floats(0, 10),
    offset=st.floats(0, 1e4),
    stretch=st.floats(0.01, 100),
    loop=st.booleans(),
    since=st.floats(0, 1e6),
)
def test_every_change_is_where_it_is_said_and_nowhere_else(
    steps, start, offset, stretch, loop, since
):
    times = array("d", [start])
    for step in steps:
        times.append(times[-1] + step)
    numbers = array("d", range(len(times)))
    trace = Trace(times, {"rate_bps": numbers}, times[-1] + steps[0])
    played = Played(trace, Manner(loop=loop, offset_s=offset, scale={"time": stretch}))
    now, before = since, played.values(since)
    for _ in range(3 * len(times)):
        following = played.next_change(now)
        if following == math.inf:
            assert not loop
            assert played.values(1e9) == before
            break
        assert following > now
        # up to the last moment before it nothing is new, at it the next value holds
        assert played.values(math.nextafter(following, -math.inf)) == before
        after = played.values(following)
        assert after != before
        if before:
            assert after["rate_bps"] == (before["rate_bps"] + 1) % len(times)
        now, before = following, after


@pytest.mark.slow
@given(
    moments_ms=st.lists(st.integers(0, 3000), min_size=1).filter(lambda m: max(m) > 0),
    bin_ms=st.integers(1, 1000),
)
def test_bins_deliver_what_opportunities_do(moments_ms, bin_ms):
    found = sorted(moments_ms)
    trace = binned(array("d", [m / 1000 for m in found]), found[-1] / 1000, bin_ms / 1000)
    ends = [*list(trace.times_s)[1:], trace.length_s]
    rates = trace.columns["rate_bps"]
    area = sum(
        rate * (end - start) for rate, start, end in zip(rates, trace.times_s, ends, strict=True)
    )
    assert area == pytest.approx(len(found) * MTU_BYTES * 8)
    assert min(rates) > 0


RECIPES = {
    "markov": Recipe(model="markov", rates_bps=(1e6, 5e6, 20e6), every_s=2, length_s=4000),
    "random-walk": Recipe(model="random-walk", rates_bps=(1e6, 50e6), length_s=100),
    "handover": Recipe(model="handover", delays_s=(0.02, 0.06), rates_bps=(1e6, 9e6)),
    "diurnal": Recipe(model="diurnal", rates_bps=(1e6, 9e6), step_s=60, length_s=86400, change=0),
}


@pytest.mark.slow
@pytest.mark.parametrize("model", MODELS)
def test_generators_give_the_same_for_a_seed_and_something_else_for_another(model):
    from dataclasses import replace

    from net.links.traces.codec import encode

    recipe = replace(RECIPES[model], change=0.1)
    assert encode(generate(recipe)) == encode(generate(recipe))
    assert encode(generate(recipe)) != encode(generate(replace(recipe, seed=1)))
    extent = generate(recipe).extent("rate_bps")
    assert extent is not None
    assert min(recipe.rates_bps) <= extent[0] < extent[1] <= max(recipe.rates_bps)


def test_numbers_by_chance_are_those_of_the_source():
    # the reference implementation's first three, for seed 1234567
    chance = Chance(1234567)
    expected = [6457827717110365317, 3203168211198807973, 9817491932198370423]
    assert [chance.even() for _ in range(3)] == [(n >> 11) / (1 << 53) for n in expected]


def test_markov_stays_as_long_as_asked_and_visits_neighbours():
    trace = generate(RECIPES["markov"])
    levels = [1e6, 5e6, 20e6]
    places = [levels.index(rate) for rate in trace.columns["rate_bps"]]
    assert {abs(a - b) for a, b in itertools.pairwise(places)} == {1}
    mean = trace.times_s[-1] / (len(trace.times_s) - 1)
    assert mean == pytest.approx(2, rel=0.1)  # of some 2000 stays: 4.5 standard errors


def test_handover_is_down_for_the_gap_at_each_period():
    trace = generate(RECIPES["handover"])
    downs = [t for t, up in zip(trace.times_s, trace.columns["up"], strict=True) if not up]
    assert downs == [15.0 * n for n in range(1, 40)]
    played = Played(trace)
    assert played.next_change(15.0) == 15.0 + 0.04
    assert played.values(15.05)["up"] == 1


def test_diurnal_is_highest_at_its_beginning_and_lowest_half_a_period_later():
    played = Played(generate(RECIPES["diurnal"]))
    assert played.values(0)["rate_bps"] == 9e6
    assert played.values(43200)["rate_bps"] == pytest.approx(1e6)


@pytest.mark.parametrize(
    ("recipe", "field"),
    [
        (Recipe(model="markov", rates_bps=(1e6,)), "rates_bps"),
        (Recipe(model="diurnal", rates_bps=(1e6, 2e6, 3e6)), "rates_bps"),
        (Recipe(model="random-walk", rates_bps=(0.0, 2e6)), "rates_bps"),
        (Recipe(model="random-walk", rates_bps=(1e6, 2e6), delays_s=(0.0, 1.0)), "delays_s"),
        (Recipe(model="handover", delays_s=(1.0,)), "delays_s"),
        (Recipe(model="handover", gap_s=20.0), "every_s"),
        (Recipe(model="handover", gap_s=0.0), "gap_s"),
        (Recipe(model="markov", rates_bps=(1e6, 2e6), every_s=0.0), "every_s"),
        (Recipe(model="diurnal", rates_bps=(1e6, 2e6), step_s=0.0), "step_s"),
        (Recipe(model="diurnal", rates_bps=(1e6, 2e6), length_s=1e6), "length_s"),
    ],
)
def test_recipes_that_make_no_sense_say_which_field(recipe, field):
    problem = recipe.problem()
    assert problem is not None
    assert problem[0] == field
    with pytest.raises(ValueError, match=field):
        generate(recipe)


def test_cores_are_its_own_column_or_its_rates_and_never_none_at_all():
    def trace(**columns):
        arrays = {name: array("d", values) for name, values in columns.items()}
        return Scarcity(Played(Trace(array("d", [0.0, 1.0, 2.0]), arrays, 3.0)))

    cores = trace(cpu=[1.0, 0.25, 0.0], rate_bps=[9e6, 9e6, 9e6])
    assert [cores.values(t)["cpu"] for t in (0.0, 1.5, 2.5)] == [1.0, 0.25, LEAST_CORES]
    assert trace(rate_bps=[2e6, 0.5e6, math.nan]).values(1.0) == {"cpu": 0.5}
    assert trace(rate_bps=[2e6, 0.5e6, math.nan]).values(2.0) == {}
    assert cores.next_change(0.5) == 1.0
    budget = trace(memory_bytes=[8.0, 4.0, math.nan], out_bps=[8e6, math.nan, 2e6], up=[1.0] * 3)
    assert budget.values(0.0) == {"memory_bytes": 8, "out_bps": 8e6}
    assert type(budget.values(1.0)["memory_bytes"]) is int  # as the kernel takes it
    assert budget.values(2.0) == {"out_bps": 2e6}
