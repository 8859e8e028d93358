"""Placement: the author's word first, then what runs, then first fit in the file's order."""

from __future__ import annotations

import pytest

from otter_ctl.errors import PlacementError
from otter_ctl.planning.placement import place
from otter_ctl.topology import Host, Module

SMALL = Host(name="small", cpu=1, memory_bytes=100)
BIG = Host(name="big", cpu=4, memory_bytes=1000)
FREE = Host(name="free")


def module(name: str, cpu: float | None = None, memory: int | None = None, host=None) -> Module:
    return Module(name=name, cpu=cpu, memory_bytes=memory, host=host)


def test_first_fit_in_the_order_of_the_file():
    modules = [module("a", 0.75), module("b", 0.5), module("c", 0.25), module("d", None, 200)]
    assert place([SMALL, BIG], modules, {}) == {"a": "small", "b": "big", "c": "small", "d": "big"}


def test_named_hosts_are_taken_first_and_never_refused():
    modules = [module("a", 1), module("b", 1, host="small"), module("c", 1, host="small")]
    assert place([SMALL, BIG], modules, {}) == {"a": "big", "b": "small", "c": "small"}


def test_what_runs_stays_if_it_fits():
    modules = [module("a"), module("b", 1), module("c", 5)]
    now = {"a": "big", "b": "gone", "c": "small"}
    assert place([SMALL, BIG, FREE], modules, now) == {"a": "big", "b": "small", "c": "free"}


@pytest.mark.parametrize(
    ("hosts", "more"),
    [
        ([SMALL], []),
        ([SMALL, BIG], []),
        ([FREE, SMALL], [module("named", 1, host="small")]),
        ([BIG, SMALL], [module("first")]),
    ],
)
def test_what_runs_stays_whoever_comes(hosts, more):
    """Modules that shared the only host, when another one or other modules come."""
    runs = {"a": "small", "b": "small"}
    seats = place(hosts, [*more, module("a", 0.6), module("b", 0.6)], runs)
    assert runs.items() <= seats.items()


def test_who_comes_finds_no_room_where_it_is_crowded():
    modules = [module("new", 0.1), module("a", 0.6), module("b", 0.6)]
    seats = place([SMALL, FREE], modules, {"a": "small", "b": "small"})
    assert seats == {"new": "free", "a": "small", "b": "small"}


def test_without_a_choice_modules_share():
    assert place([SMALL], [module("a", 1), module("b", 1)], {}) == {"a": "small", "b": "small"}
    with pytest.raises(PlacementError, match="small has 1 of 2 cores free"):
        place([SMALL], [module("a", 2)], {})


def test_no_room_says_why_for_each_host():
    with pytest.raises(PlacementError) as caught:
        place([SMALL, BIG], [module("a", 0.5), module("b", 0.75, 2000)], {})
    assert caught.value.rejected == {
        "small": "has 0.5 of 0.75 cores free",
        "big": "has 1kB of 2kB memory free",
    }
    assert caught.value.module == "b"


def test_tenths_add_up():
    modules = [module(f"m{i}", 0.1) for i in range(10)]
    assert set(place([SMALL, FREE], modules, {}).values()) == {"small"}
