"""What the benchmarks of use cases make of records, of modules' turns, and of links' counters."""

from __future__ import annotations

from itertools import accumulate
from typing import Any

import numpy as np
import pytest

from benchmarks.__main__ import BENCHMARKS, GROUPS, LONG, chosen
from benchmarks.ai import accounts, digits, first, repeat, turns
from examples.timeline import Query
from net.links.chance import chances
from net.links.model import Model
from net.links.spec import LinkSpec


def hop(source: str, target: str, made: float, *steps: float) -> dict[str, Any]:
    parts = dict(zip(("output", "sending", "link", "queue", "module"), steps, strict=True))
    ends = [*accumulate(steps, initial=made)]
    return {"from": source, "to": target, "made": made, "taken": ends[4], "done": ends[5],
            "parts": parts}  # fmt: skip


def query() -> Query:
    """Put there at 9, heard in 0.8, sent at 10, answered in 1, sent at 11.24, said in 0.1."""
    return Query(
        "one",
        computing={"ear": 0.8, "eye": 1.0, "mouth": 0.1},
        hops=[
            hop("eye", "mouth", 11.24, 0.001, 0.002, 0.008, 0.003, 0.15),
            hop("ear", "eye", 10.0, 0.001, 0.001, 0.03, 0.1, 1.109),
        ],
    )


def test_what_is_neither_computing_nor_asked_for_is_ours() -> None:
    one = accounts.account(query(), 9.0, {"ear": 0.02, "eye": 0.005})
    assert one.computing_s == pytest.approx(1.9)
    assert one.asked_s == pytest.approx(0.025)
    assert one.parts == pytest.approx({
        "noticed and read": 0.2, "sending": 0.005, "links": 0.013, "queues": 0.103,
        "in eye": 0.108, "in mouth": 0.05,
    })  # fmt: skip


def test_nothing_of_a_query_is_in_no_part_or_in_two() -> None:
    one = accounts.account(query(), 9.0, {"ear": 0.02})
    assert one.total_s == pytest.approx(11.404 - 9.0)
    assert one.computing_s + one.asked_s + one.own_s == pytest.approx(one.total_s)


def test_the_goal_is_the_larger_of_a_share_and_of_a_time() -> None:
    short, long = (accounts.Account(total_s, 0.0, 0.0, {}) for total_s in (0.5, 3.0))
    assert accounts.goal_s([short]) == pytest.approx(0.02)
    assert accounts.goal_s([long]) == pytest.approx(0.06)


def steps(*times: tuple[float, float]) -> turns.Steps:
    return np.array(times, np.float64)


def taking(until: float, shares: tuple[float, float], change_at: float) -> list[turns.Steps]:
    """Turns of two, of 10 ms each, one with a part of them that changes."""
    both: tuple[list[tuple[float, float]], list[tuple[float, float]]] = ([], [])
    owed = 0.0
    for number in range(round(until * 100)):
        now = number / 100
        owed += shares[now >= change_at]
        first = owed >= 1
        owed -= first
        both[0 if first else 1].append((now, now + 0.01))
    return [steps(*each) for each in both]


def test_what_was_had_counts_within_the_time_only() -> None:
    one = steps((0, 1), (2, 4), (5, 6))
    assert turns.had(one, 0.5, 3) == pytest.approx(1.5)
    assert turns.had(one, 10, 20) == 0
    assert turns.share(one, steps((3, 4)), 0, 4) == pytest.approx(0.75)


def test_another_share_is_in_force_once_the_time_after_is_shared_so() -> None:
    one, other = taking(6, (0.75, 0.25), 2.3)
    assert turns.share(one, other, 0, 2) == pytest.approx(0.75, abs=0.02)
    assert turns.in_force(one, other, 2.0, 0.25) == pytest.approx(0.3, abs=0.08)
    assert turns.in_force(one, other, 2.5, 0.25) == pytest.approx(0.0, abs=0.02)
    assert turns.in_force(one, other, 0.0, 0.9) == float("inf")


def test_a_turns_cost_is_the_time_between_two() -> None:
    one, other = steps((0, 0.01), (0.021, 0.031)), steps((0.0105, 0.0205), (0.0315, 0.0415))
    assert turns.cost(turns.within(one, other, 0, 1)) == pytest.approx(0.05)
    assert len(turns.within(one, other, 0.005, 0.035)) == 2
    dear = steps((0, 0.01), (0.0101, 0.0201), (0.0204, 0.0304))  # where it changes hands counts
    assert turns.cost(dear) == pytest.approx(0.02)


def test_the_next_turn_after_a_moment() -> None:
    one = steps((0, 0.01), (0.02, 0.03), (0.05, 0.06))
    assert turns.first_after(one, 0.02) == pytest.approx(0.03)
    assert turns.first_after(one, 0.05) == float("inf")


def test_losses_are_worked_out_as_links_draw_them() -> None:
    spec = LinkSpec(loss_ratio=repeat.LOSS["wifi"], delay_s=0.001)
    model = Model(spec, chances(repeat.SEED, "wifi", "edge", "speaker"))
    model.offer([bytes(100)] * 1000, 0.0)
    model.take(1.0)
    lost = model.tally.dropped["loss"]
    assert lost == repeat.replayed("wifi", "edge", "speaker", 1000) > 0
    counters = {
        "packets": model.tally.packets, "dropped": model.tally.dropped, "duplicated": 0,
        "waiting_packets": 0,
    }  # fmt: skip
    link = {"name": "wifi", "from": "edge", "to": "speaker", "driver": "tun", "counters": counters}
    assert repeat.counted([link, link | {"driver": "netem"}]) == [
        ("wifi", "edge", "speaker", 1000, lost)
    ]


def run(alone_s: float, *totals_s: float) -> repeat.Run:
    """Answers of which all but 20 ms is models, which take so long without OTTER."""
    answers = [accounts.Account(each, each - 0.02, 0.0, {}) for each in totals_s]
    return repeat.Run(answers, [alone_s] * len(answers), 9.0)


def test_runs_are_told_by_their_medians_beside_what_the_models_alone_vary() -> None:
    even, rest = repeat.variation([run(2.0, 2.0, 2.1, 9.0), run(2.2, 2.1, 1.0, 3.0)], "calm")
    assert even["ours"] == 0.0
    assert even["limit"] == pytest.approx(0.0673, abs=0.0001)
    assert rest["ours"] == pytest.approx(0.0, abs=1e-9)
    odd, _ = repeat.variation([run(2.0, 2.0), run(2.0, 2.2)], "calm")
    assert odd["ours"] == pytest.approx(0.0673, abs=0.0001)
    assert odd["limit"] == 0.0
    assert odd["peers"]["of the models in them"] == pytest.approx(0.068, abs=0.001)


def test_a_slow_machine_is_no_variation_beside_the_models_without_otter() -> None:
    both, rest = repeat.variation([run(1.9, 2.0, 2.0), run(3.8, 4.0, 4.0)], "busy")
    assert both["ours"] > 0.4
    assert both["peers"]["by the models without OTTER"] == pytest.approx(0.0, abs=1e-9)
    assert "20.0 to 20.0 ms" in rest["note"]


def test_only_what_was_judged_after_all_was_learnt_counts() -> None:
    log = ["step 250: 97.0% right of those it never saw, 9.1 s",
           "quality: 0.500, 7 of 10 classes, 30% as meant",
           "step 3000: 98.6% right of those it never saw, 90.0 s",
           "quality: 0.912, 10 of 10 classes, 97% as meant", "can't judge them: a str",
           "quality: 0.934, 9 of 10 classes, 100% as meant"]  # fmt: skip
    assert digits.judged(log, 3000) == [(0.912, 10, 0.97), (0.934, 9, 1.0)]
    with pytest.raises(RuntimeError, match="judged nothing"):
        digits.judged(log[:3], 3000)
    with pytest.raises(RuntimeError, match="never learnt"):
        digits.judged(log, 5000)


def test_the_demo_says_what_the_first_answer_waits_for() -> None:
    demo = ["runtime: process (no Docker engine answers)", "ready after 9.1 s", "  eye: host edge",
            "heard: What?", "answer: It is a cat."]  # fmt: skip
    found = [first.marked(line) for line in demo]
    assert found == ["set up", "all ready", None, None, "answered"]


def test_names_stand_for_benchmarks_and_long_ones_have_to_be_named() -> None:
    assert {*LONG, *(one for group in GROUPS.values() for one in group)} <= BENCHMARKS.keys()
    assert LONG.isdisjoint(chosen([]))
    assert chosen(["ai", "cli"]) == [*GROUPS["ai"], "cli"]
