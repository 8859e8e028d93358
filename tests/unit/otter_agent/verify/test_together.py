"""Which trains are sent at the same time."""

from __future__ import annotations

import numpy as np

from net.links.spec import LinkSpec
from net.links.verify.schedule import Train
from otter_agent.verify.jobs import DirectionJob
from otter_agent.verify.run import TOGETHER_BPS, batches


def job(name: str, medium: str | None = None) -> DirectionJob:
    return DirectionJob(
        link=name, from_="a", to="b", source_netns="na", target_netns="nb",
        source_address="10.0.0.1", target_address="10.0.0.2", device=name,
        asked=LinkSpec(rate_bps=1e6, medium=medium),
    )  # fmt: skip


def train(rate_bps: float) -> Train:
    return Train("rate", np.array([0.0, 1.0]), np.full(2, round(rate_bps / 16)), 0.1)


def groups(*planned: tuple[DirectionJob, Train]) -> list[list[str]]:
    return [[one.link for one, _ in group] for group in batches(planned)]


def test_all_that_this_machine_carries_goes_together() -> None:
    slow, fast = train(1e6), train(TOGETHER_BPS * 0.6)
    assert groups((job("x"), slow), (job("y"), slow)) == [["x", "y"]]
    assert groups((job("x"), fast), (job("y"), fast), (job("z"), slow)) == [["x", "z"], ["y"]]
    assert groups((job("x"), train(TOGETHER_BPS * 2))) == [["x"]]
    assert groups() == []


def test_of_a_medium_one_at_a_time() -> None:
    slow = train(1e6)
    planned = [(job(x, x[0]), slow) for x in ("a1", "a2", "b1", "a3", "b2")]
    assert groups(*planned, (job("alone"), slow)) == [["a1", "b1", "alone"], ["a2", "b2"], ["a3"]]
