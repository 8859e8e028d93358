"""What a medium in the kernel is made of, and in which order it comes and changes."""

from __future__ import annotations

from dataclasses import replace

import pytest

from net.links.spec import LinkSpec
from otter_agent.errors import NetworkError
from otter_agent.links.base import Direction
from otter_agent.links.netem import medium, tc
from otter_agent.links.netem.filters import ALL, IN, MARKED, OUT, Filter
from otter_agent.links.netem.medium import TURNS, Member
from otter_agent.links.netem.options import ByteQueue, Drr, Htb, PacketQueue, Turn

CELL = LinkSpec(rate_bps=8e6, medium="gnb1", queue_packets=10)
PAIR = (100, 101)


def member(number: int, spec: LinkSpec = CELL, *, uplink: bool = True) -> Member:
    ends = ("a", "hub") if uplink else ("hub", "a")
    direction = Direction("m", f"l{number}", *ends, *ends, f"l{number}", hub_netns="hub")
    return Member(direction=direction, spec=spec, link=number, inner=number + 50, uplink=uplink)


def values(*members: Member) -> dict[medium.Key, object]:
    return {thing.key: thing.value for thing in medium.things(PAIR, members)}


def test_the_capacity_is_one_and_turns_are_by_weight() -> None:
    found = values(member(3), member(4, replace(CELL, medium_weight=2.5)))
    share = found["class", 100, 0x4F020001]
    assert isinstance(share, medium.Share)
    assert share.rate == 1e6
    turns = [found["class", 100, TURNS | number] for number in (6, 8)]
    assert turns == [Turn(quantum=1514), Turn(quantum=3785)]
    assert found["leaf", 100, TURNS | 6] == PacketQueue(limit=10)


def test_weights_far_apart_leave_turns_that_can_be_counted() -> None:
    found = values(member(3), member(4, replace(CELL, medium_weight=1e6)))
    least, most = (found["class", 100, TURNS | number] for number in (6, 8))
    assert isinstance(least, Turn)
    assert isinstance(most, Turn)
    assert 1 <= least.quantum < most.quantum < 2**32
    assert most.quantum / least.quantum == pytest.approx(1e6, rel=0.01)


def test_a_slower_one_has_its_part_of_the_time_in_fewer_bytes() -> None:
    slow = replace(CELL, rate_bps=4e6)
    found = values(member(3), member(4, slow))
    assert found["class", 100, TURNS | 8] == Turn(quantum=757)
    assert medium.uneven([CELL, slow])
    assert medium.uneven([CELL, replace(CELL, overhead_bytes=4)])
    assert not medium.uneven([CELL, replace(CELL, medium_weight=2.0, delay_s=1.0)])


@pytest.mark.parametrize("uplink", [True, False])
def test_what_leads_to_a_queue_comes_when_the_queue_is_there(uplink: bool) -> None:
    keys = [thing.key for thing in medium.things(PAIR, [member(3, uplink=uplink)])]
    every = [key for key in keys if key[0] == "filter" and getattr(key[1], "priority", 0) == ALL]
    number = 6 if uplink else 7
    for needed in (("class", 100, TURNS | number), ("leaf", 100, TURNS | number)):
        assert keys.index(needed) < min(map(keys.index, every))
    marked = [key for key in keys if key[0] == "filter" and key not in every]
    assert {getattr(key[1], "priority", 0) for key in marked} == {MARKED}
    assert max(map(keys.index, marked)) < max(map(keys.index, every))
    side = {getattr(key[1], "parent", 0) for key in keys if key[0] == "filter"}
    assert side >= {IN if uplink else OUT}


def test_both_directions_of_a_link_are_two_members() -> None:
    up, down = member(3), member(3, uplink=False)
    assert up.number != down.number
    assert len(values(up, down)) == len(values(up)) + len(values(down)) - 5  # the medium's own


def test_only_what_differs_is_sent() -> None:
    have = values(member(3), member(4))
    assert not list(medium.requests(have, medium.things(PAIR, [member(3), member(4)])))
    faster = replace(CELL, rate_bps=16e6)
    todo = medium.requests(have, medium.things(PAIR, [member(3, faster), member(4, faster)]))
    assert [thing.key for thing, _ in todo] == [("class", 100, 0x4F020001)]
    small = replace(CELL, queue_packets=None, queue_bytes=3000)
    todo = medium.requests(have, medium.things(PAIR, [member(3), member(4, small)]))
    assert [(thing.key, thing.value) for thing, _ in todo] == [
        (("leaf", 100, TURNS | 8), ByteQueue(limit=3000))
    ]


def test_a_filter_that_leads_elsewhere_is_another() -> None:
    have = values(member(3))
    key = ("filter", medium.way_in(member(3)))
    have[key] = 7
    (drop, put) = (
        request for _, request in medium.requests(have, medium.things(PAIR, [member(3)]))
    )
    assert (drop.kind, put.kind) == (45, 44)


def test_what_was_made_is_known_again() -> None:
    for thing in medium.things(PAIR, [member(3), member(4, uplink=False)]):
        if thing.makes.kind in (tc.RTM_NEWQDISC, tc.RTM_NEWTCLASS):
            seen = tc.parse(thing.makes.kind, thing.makes.body)
            assert medium.known([seen]).get(thing.key) == thing.value, thing.key


def test_names_fit() -> None:
    assert medium.devices("gnb1:up") != medium.devices("gnb1:down")
    for name in (*medium.devices("x" * 200), medium.entry_device("a-link-with-so-many")):
        assert len(name) <= 15
    assert Filter(where=medium.way_in(member(3)), to=1).put("").body
    assert (Htb().kind, Drr().kind) == ("htb", "drr")


def test_who_has_no_number_left_is_refused_and_gets_nobody_elses() -> None:
    """Indexes of devices rise for as long as their namespace lives."""
    values(member(0x7FFF))
    with pytest.raises(NetworkError, match="make the mesh anew"):
        values(member(0x8000))
