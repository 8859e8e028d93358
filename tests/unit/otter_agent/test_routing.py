"""Routes over the links that are up: what the plan would have been without the others."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from ipaddress import IPv4Network
from typing import Any

import msgspec
import pytest

from net.links.spec import LinkSpec
from otter_agent import api
from otter_agent.errors import NetworkError
from otter_agent.links.ways import Way
from otter_agent.routing import Down, Routing, shortest

PLAIN = LinkSpec()


def ring(**more: Any) -> api.MeshSpec:
    names = "abcd"
    hosts = tuple(
        api.HostSpec(name=n, address=f"100.64.{i}.1", block=f"100.64.{i}.0/24")
        for i, n in enumerate(names)
    )
    links = tuple(
        api.Link(name=f"{a}{b}", a=a, b=b, forward=PLAIN, reverse=PLAIN)
        for a, b in ("ab", "bc", "cd", "da")
    )
    made = api.MeshSpec(name="m", run="r", hosts=hosts, links=links, routing="shortest", **more)
    return shortest(made, frozenset())


def way(spec: api.MeshSpec, source: str, target: str) -> str | None:
    hosts = {host.name: host for host in spec.hosts}
    to = IPv4Network(hosts[target].block)
    routes = hosts[source].routes
    covers = (r.link for r in routes if any(to.subnet_of(IPv4Network(x)) for x in r.to))
    return next(covers, None)


def both(link: str, a: str, b: str) -> Down:
    return frozenset({Way(link, a, b), Way(link, b, a)})


AB = both("ab", "a", "b")


def test_the_other_way_round_while_a_link_is_down():
    assert way(ring(), "a", "b") == "ab"
    around = shortest(ring(), AB)
    assert (way(around, "a", "b"), way(around, "b", "a")) == ("da", "bc")
    assert way(around, "c", "b") == "bc"
    assert shortest(around, frozenset()) == ring()


def test_one_direction_that_is_down_moves_only_what_went_that_way():
    half = shortest(ring(), frozenset({Way("ab", "a", "b")}))
    assert (way(half, "a", "b"), way(half, "b", "a")) == ("da", "ab")


def test_who_is_cut_off_has_no_route():
    alone = shortest(ring(), AB | both("da", "d", "a"))
    assert way(alone, "a", "c") is None
    assert way(alone, "b", "d") == "bc"


def test_hosts_that_move_are_left_to_their_moves():
    move = api.TimelineSpec(moves=(api.Move(at_s=1.0, host="a", link="ab"),))
    spec = ring(timeline=move)
    assert way(shortest(spec, AB), "a", "b") == "ab"


class World:
    def __init__(self) -> None:
        self.spec = ring()
        self.down: Down = frozenset()
        self.told: list[tuple[str, dict[str, Any]]] = []
        self.applied: list[set[str]] = []
        self.fails = 0
        self.news = asyncio.Event()
        self.routing = Routing(
            lambda: self.spec, lambda: self.down, self._settled, self._tell, self._apply
        )

    async def _settled(self) -> None:
        return

    def _tell(self, kind: str, subject: str, text: str, state: str = "", data: Any = None) -> None:
        self.told.append((state, data))
        self.news.set()

    async def _apply(self, hosts: Collection[str]) -> None:
        if self.fails:
            self.fails -= 1
            raise NetworkError("network", "route", "m", "busy")
        self.applied.append(set(hosts))

    async def turn(self, down: Down) -> None:
        self.down = down
        self.news.clear()
        self.routing.turned()
        await self.news.wait()


@pytest.fixture
def world(monkeypatch):
    monkeypatch.setattr("otter_agent.routing.AGAIN_S", 0.0)
    return World()


async def test_only_hosts_whose_routes_differ_are_touched_and_all_is_told(world):
    async with asyncio.timeout(10), asyncio.TaskGroup() as group:
        task = group.create_task(world.routing.run())
        world.routing.routed(world.spec)
        await world.turn(both("cd", "c", "d"))
        expected = shortest(ring(), both("cd", "c", "d"))
        pairs = zip(ring().hosts, expected.hosts, strict=True)
        assert world.applied == [{b.name for a, b in pairs if a.routes != b.routes}]
        assert world.told[-1][0] == "rerouted"
        assert world.told[-1][1]["down"] == ["cd:c>d", "cd:d>c"]
        await world.turn(frozenset())
        assert world.applied[-1] == world.applied[0]
        assert world.routing.routed(world.spec) is world.spec
        task.cancel()


async def test_what_could_not_be_installed_is_tried_again(world):
    world.fails = 2
    async with asyncio.timeout(10), asyncio.TaskGroup() as group:
        task = group.create_task(world.routing.run())
        world.routing.routed(world.spec)
        await world.turn(AB)
        while world.told[-1][0] != "rerouted":
            world.news.clear()
            await world.news.wait()
        assert [state for state, _ in world.told] == ["failed", "failed", "rerouted"]
        task.cancel()


async def test_static_routes_stay(world):
    world.spec = msgspec.structs.replace(world.spec, routing="static")
    world.down = AB
    assert world.routing.routed(world.spec) is world.spec


async def test_another_machine_is_believed_of_links_that_end_there(world):
    world.spec = msgspec.structs.replace(ring(), away=(api.Away(machine="m2", hosts=("c",)),))
    told = AB | both("bc", "b", "c") | both("no such", "c", "a")
    world.routing.hear("m2", told)
    found = world.routing.routed(world.spec)
    assert found.hosts == shortest(ring(), both("bc", "b", "c")).hosts
