"""Routes: shortest by delay, exact, free of loops, the same whatever the order of the file."""

from __future__ import annotations

import ipaddress
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from net.links.spec import LinkSpec
from net.routing.blocks import Block, parse_block
from net.routing.routes import DEFAULT, Ranges, compute
from otter_agent.api import Link
from otter_ctl.planning.addresses import allocate


def both(name: str, a: str, b: str, delay_ms: float | None = None) -> Link:
    spec = LinkSpec(delay_s=None if delay_ms is None else delay_ms / 1e3)
    return Link(name=name, a=a, b=b, forward=spec, reverse=spec)


def one_way(name: str, a: str, b: str, delay_ms: float = 1) -> Link:
    return Link(name=name, a=a, b=b, forward=LinkSpec(delay_s=delay_ms / 1e3))


def blocks(names) -> dict[str, Block]:
    return allocate({name: [] for name in names}, None).blocks


def links_used(names, links, source) -> dict[str, str]:
    """CIDR -> link, of one host."""
    return {to: r.link for r in compute(blocks(names), links).tables[source] for to in r.to}


def test_neighbours():
    routes = compute(blocks("ab"), [both("a-b", "a", "b", 5)])
    (route,) = routes.tables["a"]
    assert (route.to, route.via, route.link) == (("100.64.1.0/24",), "100.64.1.1", "a-b")
    assert routes.reach == {"a": {"b"}, "b": {"a"}}


def test_a_detour_that_is_faster_wins():
    links = [both("slow", "a", "c", 50), both("ab", "a", "b", 10), both("bc", "b", "c", 10)]
    assert links_used("abc", links, "a") == {"100.64.1.0/24": "ab", "100.64.2.0/24": "ab"}


def test_equal_delays_go_the_way_of_fewer_hops():
    links = [both("direct", "a", "c", 20), both("ab", "a", "b", 10), both("bc", "b", "c", 10)]
    assert links_used("abc", links, "a")["100.64.2.0/24"] == "direct"


def test_equal_ways_go_by_the_next_hosts_name_then_the_links():
    square = [both("1", "a", "c"), both("2", "a", "b"), both("3", "b", "d"), both("4", "c", "d")]
    assert links_used("abcd", square, "a")["100.64.3.0/24"] == "2"
    assert links_used("ab", [both("y", "a", "b"), both("x", "a", "b")], "a") == {
        "100.64.1.0/24": "x"
    }


def test_parallel_links_go_by_delay():
    links = [both("x", "a", "b", 20), both("y", "a", "b", 10)]
    assert links_used("ab", links, "a") == {"100.64.1.0/24": "y"}


def test_each_direction_by_its_own_delay():
    lopsided = Link(
        name="x", a="a", b="b", forward=LinkSpec(delay_s=1), reverse=LinkSpec(delay_s=0)
    )
    links = [lopsided, both("y", "a", "b", 10)]
    assert links_used("ab", links, "a") == {"100.64.1.0/24": "y"}
    assert links_used("ab", links, "b") == {"100.64.0.0/24": "x"}


def test_a_one_way_link_carries_one_way():
    routes = compute(blocks("abc"), [one_way("x", "a", "b"), one_way("y", "b", "c")])
    assert routes.reach == {"a": {"b", "c"}, "b": {"c"}, "c": set()}
    assert routes.tables["c"] == ()


def test_what_cannot_be_reached_has_no_route():
    routes = compute(blocks("abcd"), [both("x", "a", "b"), both("y", "c", "d")])
    assert routes.reach["a"] == {"b"}


@pytest.mark.parametrize(
    ("written", "merged"),
    [
        (["10.0.0.0/24", "10.0.1.0/24"], ["10.0.0.0/23"]),
        (["10.0.1.0/24", "10.0.2.0/24"], ["10.0.1.0/24", "10.0.2.0/24"]),
        (["10.0.0.0/24", "10.0.1.0/24", "10.0.2.0/23"], ["10.0.0.0/22"]),
        (["0.0.0.0/1", "128.0.0.0/1"], ["0.0.0.0/0"]),
    ],
)
def test_covers(written, merged):
    ranges = Ranges([parse_block(block) for block in written])
    assert list(ranges.cover(range(len(written)))) == merged


@pytest.mark.slow
@given(st.sets(st.integers(0, 60), min_size=1), st.data())
def test_covers_as_ipaddress_does(units, data):
    """Of any hosts among all: those in between that aren't reached stay out."""
    ordered = sorted(units)
    ranges = Ranges([Block(unit * 256, 256) for unit in ordered])
    numbers = sorted(data.draw(st.sets(st.sampled_from(range(len(ordered))), min_size=1)))
    networks = (ipaddress.ip_network((ordered[n] * 256, 24)) for n in numbers)
    expected = [str(network) for network in ipaddress.collapse_addresses(networks)]
    assert list(ranges.cover(numbers)) == expected
    assert list(ranges.cover(numbers)) == expected  # some are kept from the first time


GRAPH = st.lists(
    st.tuples(st.integers(0, 7), st.integers(0, 7), st.integers(0, 3), st.booleans()), max_size=16
)


def links_of(edges) -> list[Link]:
    return [
        (both if two_way else one_way)(f"l{i}", f"h{a}", f"h{b}", delay)
        for i, (a, b, delay, two_way) in enumerate(edges)
        if a != b
    ]


def distances(names, links) -> dict[tuple[str, str], float]:
    """Floyd and Warshall's: slow, plain, another algorithm."""
    far = {(a, b): 0.0 if a == b else float("inf") for a in names for b in names}
    for link in links:
        for a, b, spec in ((link.a, link.b, link.forward), (link.b, link.a, link.reverse)):
            if spec is not None:
                far[a, b] = min(far[a, b], spec.delay_s)
    for via in names:
        for a in names:
            for b in names:
                far[a, b] = min(far[a, b], far[a, via] + far[via, b])
    return far


@pytest.mark.slow
@given(GRAPH)
def test_following_routes_takes_the_least_delay_and_ends(edges):
    names = [f"h{i}" for i in range(8)]
    links = links_of(edges)
    table = blocks(names)
    routes = compute(table, links)
    far = distances(names, links)
    networks = {b: ipaddress.ip_network(b) for t in routes.tables.values() for r in t for b in r.to}
    by_name = {link.name: link for link in links}
    for source in names:
        for target in names:
            assert (target in routes.reach[source]) == (
                source != target and far[source, target] < float("inf")
            )
        for target in routes.reach[source]:
            here, delay, address = source, 0.0, ipaddress.ip_address(table[target].host)
            for _ in names:
                covering = [
                    r for r in routes.tables[here] for to in r.to if address in networks[to]
                ]
                assert len(covering) == 1
                link = by_name[covering[0].link]
                spec = link.forward if link.a == here else link.reverse
                here, delay = link.b if link.a == here else link.a, delay + spec.delay_s
                if here == target:
                    break
            assert here == target
            assert delay == pytest.approx(far[source, target])


@pytest.mark.slow
@given(GRAPH, st.randoms(use_true_random=False))
def test_the_order_of_the_file_plays_no_part(edges, chance: random.Random):
    table = blocks([f"h{i}" for i in range(8)])
    links = links_of(edges)
    shuffled = list(links)
    chance.shuffle(shuffled)
    backwards = dict(reversed(table.items()))
    assert compute(backwards, shuffled).tables == compute(table, links).tables


def test_in_a_ring_of_100_hosts_everyone_reaches_everyone():
    names = [f"h{i}" for i in range(100)]
    links = [both(f"l{i}", names[i], names[(i + 1) % 100], 5) for i in range(100)]
    routes = compute(blocks(names), links)
    assert all(len(reach) == 99 for reach in routes.reach.values())


def test_default_routes_lead_to_the_nearest_gateway_and_none_is_at_a_gateway():
    links = [both("a-b", "a", "b", 100), both("b-c", "b", "c"), both("c-d", "c", "d")]
    tables = compute(blocks("abcde"), links, gateways={"a", "d"}).tables
    outward = {n: [(r.via, r.link) for r in t if DEFAULT in r.to] for n, t in tables.items()}
    assert outward == {
        "a": [],
        "b": [("100.64.2.1", "b-c")],  # two hops without delay are nearer than one of 100 ms
        "c": [("100.64.3.1", "c-d")],
        "d": [],
        "e": [],  # joined to nobody
    }
    without = compute(blocks("abcde"), links).tables
    assert not any(DEFAULT in r.to for table in without.values() for r in table)
