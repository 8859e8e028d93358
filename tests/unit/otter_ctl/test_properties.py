"""Properties of links, as topologies and command lines write them."""

from __future__ import annotations

from typing import Any

import pytest

from net.links.changes import FIELDS
from net.links.spec import LinkSpec
from otter_ctl.errors import TopologyErrors
from otter_ctl.topology.properties import PROPERTIES, key_of, read_text
from otter_ctl.topology.reader import Bad

TOP = 'name = "m"\n[hosts.a]\n[hosts.b]\n'
EVERYTHING = """
delay = "20ms"
jitter = "2ms"
jitter_distribution = "paretonormal"
jitter_correlation = "25%"
loss = "0.5%"
loss_correlation = "20%"
rate = "20mbit"
overhead = 18
queue = "64KiB"
queue_discipline = "red"
ecn = true
duplicate = "0.1%"
corrupt = "0.01%"
reorder = "1%"
reorder_correlation = "50%"
slot = ["5ms", "10ms"]
slot_size = "9kB"
up = true
"""


def link(read: Any, text: str, defaults: str = "") -> Any:
    table = f"[defaults.link]\n{defaults}\n" if defaults else ""
    return read(f'{TOP}{table}[[links]]\nbetween = ["a", "b"]\n{text}').links[0]


def test_every_property(read: Any) -> None:
    assert link(read, EVERYTHING).forward == LinkSpec(
        delay_s=0.02, jitter_s=0.002, jitter_distribution="paretonormal", jitter_correlation=0.25,
        loss_ratio=0.005, loss_correlation=0.2, rate_bps=2e7, overhead_bytes=18,
        queue_bytes=65536, queue_discipline="red", ecn=True, duplicate_ratio=0.001,
        corrupt_ratio=0.0001, reorder_ratio=0.01, reorder_correlation=0.5, slot_s=(0.005, 0.01),
        slot_bytes=9000, up=True,
    )  # fmt: skip
    chains = link(read, 'loss_gilbert = ["1%", "30%"]\nslot = "5ms"').forward
    assert (chains.loss_gilbert, chains.slot_s) == ((0.01, 0.3, 1.0, 0.0), (0.005, 0.005))
    table = link(read, 'delay = "1s"\njitter = "1s"\njitter_table = [-1, 0.5]').forward
    assert (table.jitter_distribution, table.jitter_table) == ("table", (-1.0, 0.5))


def test_every_field_has_a_key() -> None:
    assert {key_of(field) for field in FIELDS} == {key.name for key in PROPERTIES}


def test_what_is_nearer_is_meant_instead(read: Any) -> None:
    defaults = 'loss = "1%"\nloss_correlation = "20%"\nqueue = "50ms"'
    near = link(read, 'loss_gilbert = [0.01, 0.3]\nqueue = "9 packets"', defaults).forward
    assert near == LinkSpec(loss_gilbert=(0.01, 0.3, 1.0, 0.0), queue_packets=9)
    back = link(read, 'loss_markov = [0, 1, 0, 1, 0]\nreverse = { loss = "2%" }', defaults)
    assert (back.forward.loss_ratio, back.reverse.loss_ratio) == (None, 0.02)
    assert back.reverse.loss_markov is None


def test_defaults_for_what_a_link_has_not_are_no_error(read: Any) -> None:
    defaults = 'jitter_distribution = "pareto"\nslot_size = "9kB"'
    assert link(read, 'delay = "20ms"', defaults).forward == LinkSpec(delay_s=0.02)
    jittery = link(read, 'delay = "20ms"\njitter = "1ms"', defaults).forward
    assert jittery.jitter_distribution == "pareto"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('jitter_distribution = "normal"', "jitter_distribution: goes only with jitter"),
        ('jitter_distribution = "gauss"', "is not one of uniform, normal, pareto"),
        ('delay = "1s"\njitter = "1s"\njitter_table = [1]', "must be an array of 2 to 16384"),
        ('delay = "1s"\njitter = "1s"\njitter_table = [0, inf]', "must be a finite number"),
        ('loss = "1%"\nloss_gilbert = ["1%", "2%"]', "a link loses packets in one way"),
        ('loss_gilbert = ["1%"]', "must be an array of 2 to 4 chances"),
        ('loss_gilbert = ["1%", "101%"]', "loss_gilbert[1]: "),
        ('loss_markov = ["1%", "1%"]', "must be an array of 5 chances"),
        ('loss_correlation = "1%"', "goes only with loss"),
        ("overhead = 5000", "must be between -1000 and 1000"),
        ('overhead = "18"', "must be an integer"),
        ("ecn = true", "goes only with the disciplines codel and red"),
        ('queue_discipline = "pie"', "is not one of tail, codel, red"),
        ('reorder = "1%"', "goes only with a delay"),
        ('slot = ["5ms", "1ms"]', "must be a shortest and a longest time"),
        ('slot = ["5ms"]', "must be a time, or the shortest and the longest"),
        ('slot_size = "9kB"', "goes only with slots"),
        ('slot = "5ms"\nslot_size = 0', "must be at least 1 byte"),
        ('up = "no"', "must be true or false"),
        ('duplicate = "-1%"', "is not a ratio (negative)"),
        ('rate = "0bit"', "must be above 0 and at most 10tbit"),
        ('rate = "1pbit"', "is not a rate"),
        ('delay = "2h"', "must be between 0 and 1h"),
        ("delay = nan", "is not a duration"),
        ("delay = 20", "a unit is missing"),
    ],
)
def test_what_makes_no_sense(read: Any, text: str, problem: str) -> None:
    with pytest.raises(TopologyErrors) as found:
        link(read, text)
    assert problem in str(found.value)


@pytest.mark.parametrize(
    ("key", "text", "values"),
    [
        ("delay", "20ms", {"delay_s": 0.02}),
        ("queue", "9 packets", {"queue_packets": 9}),
        ("queue", "none", {"queue_s": None, "queue_bytes": None, "queue_packets": None}),
        ("rate", "none", {"rate_bps": None}),
        ("loss_gilbert", "1%,30%", {"loss_gilbert": (0.01, 0.3, 1.0, 0.0)}),
        ("slot", "5ms,10ms", {"slot_s": (0.005, 0.01)}),
        ("slot", "5ms", {"slot_s": (0.005, 0.005)}),
        ("overhead", "-4", {"overhead_bytes": -4}),
        ("up", "false", {"up": False}),
        ("ecn", "on", {"ecn": True}),
        ("jitter_table", "-1,0,1.5",
         {"jitter_table": (-1.0, 0.0, 1.5), "jitter_distribution": "table"}),
    ],
)  # fmt: skip
def test_words_of_a_command_line(key: str, text: str, values: dict[str, Any]) -> None:
    assert read_text(key, text) == values


@pytest.mark.parametrize(
    ("key", "text"),
    [("delay", "20"), ("colour", "red"), ("up", "maybe"), ("overhead", "many"), ("loss", "")],
)
def test_words_that_are_none(key: str, text: str) -> None:
    with pytest.raises(Bad):
        read_text(key, text)
