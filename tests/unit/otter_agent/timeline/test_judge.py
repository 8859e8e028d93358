"""Conditions: once or again, held for a time, with a way back, over lives of what is counted."""

from __future__ import annotations

import itertools
from typing import Any, get_args

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from net.conditions import MODULE_STATES, TESTS, Condition
from net.links.words import value_text
from otter_agent import api
from otter_agent.timeline.judge import Judge, Memory, Value


def judge(test: str, bound: float = 0.0, **more: Any) -> Judge:
    kind = next(kind for kind, tests in TESTS.items() if test in tests)
    return Judge(Condition(kind=kind, name="x", test=test, bound=bound, **more), Memory())


def fires(of: Judge, values: list[Value], step_s: float = 1.0) -> list[int]:
    """At which of the values, seen a step apart."""
    return [n for n, value in enumerate(values) if of.sees(n * step_s, value)]


def test_the_states_are_those_of_modules():
    assert get_args(api.ModuleState) == MODULE_STATES


def test_a_state_fires_once_or_each_time_that_it_is_reached():
    seen: list[Value] = ["ready", "done", "done", "ready", "done"]
    assert fires(judge("state", state="done"), seen) == [1]
    assert fires(judge("state", state="done", again=True), seen) == [1, 4]


def test_a_count_fires_at_its_bound_and_again_after_so_many_more():
    seen: list[Value] = [0.0, 900.0, 1003.0, 1900.0, 2000.0, 4500.0, 4501.0]
    assert fires(judge("messages", 1000), seen) == [2]
    # Of several bounds that were passed at once each has its turn.
    assert fires(judge("messages", 1000, again=True), seen) == [2, 4, 5, 6]


def test_a_count_goes_on_over_the_lives_of_what_counts():
    of = judge("messages", 100)
    assert fires(of, [60.0, None, 10.0, 39.0, 40.0]) == [4]
    assert of.memory.total == 100


def test_a_level_has_to_hold_for_its_time_without_a_break():
    of = judge("queue_delay_above", 0.05, for_s=2.0)
    assert fires(of, [0.06, 0.06, 0.04, 0.06, None, 0.06, 0.06, 0.06, 0.06]) == [7]


def test_a_level_fires_again_only_after_it_came_back():
    seen: list[Value] = [0.06, 0.04, 0.06, 0.03, 0.02, 0.06, 0.01]
    assert fires(judge("queue_delay_above", 0.05), seen) == [0]
    assert fires(judge("queue_delay_above", 0.05, again=True), seen) == [0, 2, 5]
    assert fires(judge("queue_delay_above", 0.05, again=True, rearm=0.02), seen) == [0, 5]
    below: list[Value] = [4.0, 6.0, 4.0, 9.0, 4.0]
    assert fires(judge("rate_below", 5, again=True, rearm=8), below) == [0, 4]


def test_what_is_kept_is_all_there_is_to_know():
    first = judge("messages", 100, again=True)
    assert fires(first, [60.0, 150.0, 190.0]) == [1]
    kept = msgspec.json.decode(msgspec.json.encode(first.memory), type=Memory)
    assert fires(Judge(first.condition, kept), [199.0, 205.0]) == [1]


@pytest.mark.slow
@given(
    st.lists(st.one_of(st.none(), st.floats(0, 100)), max_size=40), st.floats(0, 100), st.booleans()
)
def test_it_never_fires_on_what_is_not_so(values: list[Value], bound: float, again: bool):
    of = judge("use_above", bound, again=again)
    at = fires(of, values)
    assert all(isinstance(values[n], float) and values[n] > bound for n in at)
    assert len(at) <= (len(values) if again else 1)
    if again:  # between two there was one that isn't so
        pairs = itertools.pairwise(at)
        assert all(any(v is not None and v <= bound for v in values[a:b]) for a, b in pairs)


@pytest.mark.parametrize(
    ("condition", "said"),
    [
        (Condition(kind="link", name="x", test="messages"), "a link has no 'messages'"),
        (Condition(kind="link", name="x", test="use_above", bound=float("nan")), "a number"),
        (Condition(kind="link", name="x", test="packets", bound=0.0), "at least 1"),
        (Condition(kind="link", name="x", test="packets", bound=5, for_s=1.0), "only grows"),
        (Condition(kind="link", name="x", test="use_above", for_s=-1.0), "held for a time"),
        (Condition(kind="link", name="x", test="use_above", rearm=0.0), "goes with `again`"),
        (
            Condition(kind="link", name="x", test="use_above", bound=0.5, again=True, rearm=0.6),
            "must not be above",
        ),
    ],
)
def test_what_makes_no_sense_says_why(condition: Condition, said: str):
    assert said in condition.problem()


@pytest.mark.parametrize(
    ("test", "value", "said"),
    [
        ("queue_delay_above", 0.44607199999999997, "446.1ms"),
        ("use_below", 0.123456, "12.3%"),
        ("bytes", 1048576.0, "1MiB"),
        ("messages", 1003.0, "1003"),
        ("cpu_above", 0.95, "0.95"),
    ],
)
def test_values_are_told_in_words(test: str, value: float, said: str):
    assert value_text(test, value) == said
