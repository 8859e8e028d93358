"""Where tunnels will come in, and what is said of those that a firewall keeps out."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import replace
from types import SimpleNamespace
from typing import cast

import pytest

from otter_agent import api
from otter_ctl import knocking
from otter_ctl.knocking import Tried, Way, tried, wanted, words
from otter_ctl.planning.tunnels import Wires
from otter_ctl.spread import Fleet

WIRES = Wires(
    {"m1": "10.0.0.1", "m2": "10.0.0.2", "m3": "10.0.0.3"},
    ports={"m1": 14790, "m2": 14790, "m3": 15800},
)
PAIRS = [("m1", "m2"), ("m2", "m1"), ("m1", "m3"), ("m3", "m1")]
LINKS = [("l", pair) for pair in PAIRS]
VXLAN = [Way(one, other, "vxlan", 14789) for one, other in sorted(PAIRS)]
UDP = [Way(one, other, "udp", WIRES.ports[other]) for one, other in sorted(PAIRS)]


def said(ways: list[Way], shut: list[Way], wires: Wires = WIRES) -> list[str]:
    tried = Tried(frozenset(ways) - frozenset(shut), frozenset(shut))
    return list(words(tried, ways, wires))


def test_each_way_ends_where_its_tunnels_come_in() -> None:
    assert wanted(LINKS, {}, WIRES) == VXLAN
    assert wanted(LINKS, {"l": "udp"}, WIRES) == UDP
    assert wanted(LINKS, {"l": "vxlan"}, replace(WIRES, no_vxlan={"m3": "none"})) == VXLAN[:1] + [
        way for way in VXLAN[1:] if "m3" not in (way.one, way.other)
    ]


def test_to_who_is_behind_a_nat_nobody_knocks() -> None:
    behind = replace(WIRES, deaf=frozenset({("m1", "m3")}))
    found = wanted(LINKS, {}, behind)
    assert Way("m3", "m1", "udp", 14790) in found
    assert not [way for way in found if way.other == "m3"]


def test_who_keeps_datagrams_out_is_named_with_what_to_do() -> None:
    [line] = said(VXLAN, [way for way in VXLAN if way.other == "m1"])
    assert line == (
        "machine m1 (10.0.0.1): nothing that m2, m3 send to its UDP port 14789 comes in: links "
        "from there carry nothing; let it through its firewall: "
        "ufw allow proto udp from 10.0.0.2 to any port 14789; "
        "ufw allow proto udp from 10.0.0.3 to any port 14789"
    )
    assert said(VXLAN, []) == []


def test_over_udp_it_is_enough_that_one_end_can_greet() -> None:
    assert said(UDP, [UDP[0]]) == []
    both = [way for way in UDP if "m3" not in (way.one, way.other)]
    assert [line.split(" (")[0] for line in said(UDP, both)] == ["machine m1", "machine m2"]
    behind = [way for way in UDP if way.other != "m3"]  # it is: nobody knocks there
    assert "m3 sends to its UDP port 14790" in said(behind, [Way("m3", "m1", "udp", 14790)])[0]


def test_of_machines_that_do_not_even_answer_pings_something_else_is_said() -> None:
    assert said(VXLAN, VXLAN, replace(WIRES, deaf=frozenset(PAIRS))) == []


class Agent:
    """Of a machine: who knocks there hears nothing, but from m3.

    Args:
        hangs: It never says that it listens.
    """

    def __init__(self, hangs: bool = False) -> None:
        self._hangs = hangs

    async def knock(self, asked: api.Knocking) -> api.Knocked:
        if self._hangs and asked.ports:
            await asyncio.Event().wait()
        return api.Knocked(answered=tuple(d.address == WIRES.addresses["m3"] for d in asked.doors))


async def found(hangs: str = "") -> Tried:
    async def of(names: Iterable[str]) -> dict[str, Agent]:
        return {name: Agent(name == hangs) for name in names}

    fleet = cast(Fleet, SimpleNamespace(agents=SimpleNamespace(of=of)))
    return await tried(fleet, WIRES, VXLAN)


async def test_what_hears_no_answer_is_shut() -> None:
    by = {way.other: {one for one in VXLAN if one.other == way.other} for way in VXLAN}
    assert await found() == Tried(frozenset(by["m3"]), frozenset(by["m1"] | by["m2"]))


async def test_who_is_slow_to_listen_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """The others would have ended by then, and look shut; nor is it said to be."""
    monkeypatch.setattr(knocking, "LISTENING_S", 0.05)
    async with asyncio.timeout(30):
        told = await found(hangs="m2")
    assert {way.other for way in told.open} == {"m3"}
    assert {way.other for way in told.shut} == {"m1"}


async def test_what_was_tried_when_perhaps_nobody_listened_any_more_is_not_shut(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(api, "KNOCK_S", 0.0)
    told = await found()
    assert ({way.other for way in told.open}, told.shut) == ({"m3"}, frozenset())
