"""Changes of a direction: they change only what they name, and what is in force makes sense."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from net.links.changes import Change, in_force, problems, sound
from net.links.delivery import Delivery
from net.links.spec import LinkSpec

RADIO = LinkSpec(delay_s=0.02, jitter_s=0.01, loss_ratio=0.005, rate_bps=2e7, queue_s=0.05)

_RATIO = st.floats(0, 1)
_TIMES = st.floats(0, 4000)
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "delay_s": _TIMES,
    "jitter_s": _TIMES,
    "jitter_distribution": st.sampled_from(["uniform", "normal", "pareto", "table"]),
    "jitter_table": st.just((-1.0, 0.0, 1.0)),
    "jitter_correlation": _RATIO,
    "loss_ratio": _RATIO,
    "loss_correlation": _RATIO,
    "loss_gilbert": st.tuples(_RATIO, _RATIO, _RATIO, _RATIO),
    "loss_markov": st.tuples(_RATIO, _RATIO, _RATIO, _RATIO, _RATIO),
    "rate_bps": st.floats(0, 1e14),
    "queue_s": _TIMES,
    "queue_bytes": st.integers(-1, 10**6),
    "queue_packets": st.integers(-1, 10**6),
    "queue_discipline": st.sampled_from(["tail", "codel", "red"]),
    "ecn": st.booleans(),
    "duplicate_ratio": _RATIO,
    "reorder_ratio": st.floats(0, 2),
    "reorder_correlation": _RATIO,
    "slot_s": st.tuples(_TIMES, _TIMES),
    "slot_bytes": st.integers(0, 10**6),
    "up": st.booleans(),
    "medium": st.sampled_from(["gnb1", ""]),
    "medium_weight": st.floats(0, 1e7),
    "delivery": st.builds(Delivery, trace=st.sampled_from(["", "ab"]), scale=st.floats(0, 2)),
}
ANYTHING = st.fixed_dictionaries({}, optional={k: st.none() | v for k, v in VALUES.items()})


def test_only_what_is_named_changes() -> None:
    changed = Change.of(delay_s=0.05).over(RADIO)
    assert changed == replace(RADIO, delay_s=0.05)
    assert Change().over(RADIO) == RADIO
    assert Change.of(rate_bps=None).over(RADIO) == replace(RADIO, rate_bps=None)


def test_a_queue_has_one_size_and_a_link_loses_in_one_way() -> None:
    chain = (0.1, 0.5, 1.0, 0.0)
    changed = Change.of(queue_packets=10, loss_gilbert=chain).over(
        replace(RADIO, loss_correlation=0.3)
    )
    assert changed.asked() == {
        "delay_s": 0.02, "jitter_s": 0.01, "rate_bps": 2e7,
        "queue_packets": 10, "loss_gilbert": chain,
    }  # fmt: skip
    assert Change.of(loss_ratio=0.0).over(changed).loss_gilbert is None


def test_what_goes_only_with_another_goes_with_it() -> None:
    wild = LinkSpec(
        delay_s=1.0, jitter_s=0.5, jitter_distribution="table", jitter_table=(-1.0, 1.0),
        queue_discipline="codel", ecn=True, slot_s=(0.01, 0.02), slot_bytes=3000,
    )  # fmt: skip
    assert Change.of(jitter_s=None).over(wild) == replace(
        wild, jitter_s=None, jitter_distribution=None, jitter_table=None
    )
    assert Change.of(jitter_distribution="normal").over(wild).jitter_table is None
    assert Change.of(queue_discipline="tail").over(wild).ecn is None
    assert Change.of(slot_s=None).over(wild).slot_bytes is None
    assert Change.of(jitter_table=(0.0, 1.0)).over(RADIO).jitter_distribution == "table"


def test_people_read_what_was_named() -> None:
    assert Change.of(queue_bytes=5).asked() == {"queue_bytes": 5}
    assert Change.of(rate_bps=None, delay_s=1.0).asked() == {"rate_bps": None, "delay_s": 1.0}


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"delay_s": 0.005}, "jitter_s"),
        ({"loss_ratio": 1.01}, "loss_ratio"),
        ({"rate_bps": 0}, "rate_bps"),
        ({"ecn": True}, "ecn"),
        ({"colour": 3}, "colour"),
        ({"delay_s": float("nan")}, "delay_s"),
    ],
)
def test_changes_that_make_no_sense(values: dict[str, Any], field: str) -> None:
    assert list(problems(Change.of(**values), RADIO)) == [field]


def test_a_jitter_above_the_delay_is_held_at_it() -> None:
    assert in_force(RADIO, Change.of(delay_s=0.005)) == replace(
        RADIO, delay_s=0.005, jitter_s=0.005
    )


def test_the_layer_further_up_wins() -> None:
    timeline, by_hand = Change.of(rate_bps=1e6, delay_s=0.1), Change.of(delay_s=0.2)
    assert in_force(RADIO, timeline, by_hand) == replace(RADIO, rate_bps=1e6, delay_s=0.2)


@pytest.mark.slow
@given(ANYTHING, st.lists(ANYTHING, max_size=3))
@settings(max_examples=300, deadline=None)
def test_what_is_in_force_always_makes_sense(
    base: dict[str, Any], layers: list[dict[str, Any]]
) -> None:
    result = in_force(LinkSpec(**base), *(Change.of(**values) for values in layers))
    assert result.problems() == {}
    assert sound(result) == result


@pytest.mark.slow
@given(ANYTHING, ANYTHING, ANYTHING)
@settings(max_examples=300, deadline=None)
def test_two_changes_in_a_row_are_as_one(
    base: dict[str, Any], first: dict[str, Any], second: dict[str, Any]
) -> None:
    spec, a, b = LinkSpec(**base), Change.of(**first), Change.of(**second)
    assert b.over(a.over(spec)) == a.then(b).over(spec)


def test_every_field_can_be_changed() -> None:
    assert {f.name for f in fields(LinkSpec)} - VALUES.keys() == {
        "overhead_bytes", "corrupt_ratio",
    }  # fmt: skip
