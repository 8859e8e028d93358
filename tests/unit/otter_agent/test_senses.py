"""What conditions see of a mesh."""

from __future__ import annotations

from net.conditions import Condition
from otter_agent import api
from otter_agent.layout import Layout
from otter_agent.links.base import Counters
from otter_agent.links.ways import Way
from otter_agent.senses import MeshSenses


class Counted(dict):
    """Says how often somebody has gone through all of it."""

    walks = 0

    def items(self):
        self.walks += 1
        return super().items()


class Links:
    def __init__(self, counters):
        self.counters = counters

    def count(self):
        return self.counters


def senses(tmp_path, counters):
    spec = api.MeshSpec(name="mesh", run="r")
    links = Links(counters)
    return MeshSenses("mesh", lambda: spec, None, links, Layout(tmp_path, tmp_path), None)  # type: ignore[arg-type]


def packets(link, direction=""):
    return Condition(kind="link", name=link, test="packets", direction=direction, bound=1.0)


async def test_a_link_is_seen_each_way_or_both_together(tmp_path):
    counters = Counted(
        {Way("l", "a", "b"): Counters(packets=3), Way("l", "b", "a"): Counters(packets=4)}
    )
    asked = [packets("l"), packets("l", "a>b"), packets("l", "b>a"), packets("m")]
    assert await senses(tmp_path, counters).look(asked) == [7.0, 3.0, 4.0, None]


async def test_many_conditions_look_at_all_links_once(tmp_path):
    """Ten times a second: each for itself held the agent up for a second, of 1000 conditions."""
    counters = Counted({Way(f"l{n}", "a", "b"): Counters(packets=n) for n in range(50)})
    values = await senses(tmp_path, counters).look([packets(f"l{n}") for n in range(50)])
    assert values == [float(n) for n in range(50)]
    assert counters.walks == 1


async def test_a_queue_and_a_use_are_those_that_status_tells(tmp_path):
    full = Counters(queue_delay_s=0.2, use_ratio=0.75)
    counters = Counted({Way("l", "a", "b"): full, Way("l", "b", "a"): Counters()})
    tests = ("queue_delay_above", "use_above")
    asked = [Condition(kind="link", name="l", test=t, direction="", bound=0.1) for t in tests]
    assert await senses(tmp_path, counters).look(asked) == [0.2, 0.75]
