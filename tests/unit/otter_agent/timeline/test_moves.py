"""Hosts that move: where they are at a moment, and what that makes of everybody's routes."""

from __future__ import annotations

import ipaddress

import msgspec

from otter_agent import api
from otter_agent.timeline.moves import places, rerouted, routed


def host(name: str, number: int, *routes: api.Route, gateway: bool = False) -> api.HostSpec:
    base = f"100.64.{number}"
    return api.HostSpec(
        name=name, address=f"{base}.1", block=f"{base}.0/24", routes=routes, gateway=gateway
    )


def way(link: str, via: int, *to: str) -> api.Route:
    return api.Route(to=to, via=f"100.64.{via}.1", link=link)


CORE = "100.64.4.0/24"
SPEC = api.MeshSpec(
    name="m",
    run="r",
    hosts=(
        host("phone", 0, way("gnb1-phone", 2, "100.64.1.0/24", "100.64.2.0/23", CORE)),
        host("tablet", 1, way("gnb1-tablet", 2, "100.64.0.0/24", "100.64.2.0/23", CORE)),
        host(
            "m1", 2, way("gnb1-phone", 0, "100.64.0.0/24"), way("gnb1-tablet", 1, "100.64.1.0/24"),
            way("m1-core", 4, "100.64.3.0/24", CORE),
        ),
        host("m2", 3, way("m2-core", 4, "100.64.0.0/23", "100.64.2.0/24", CORE)),
        host("core", 4, way("m1-core", 2, "100.64.0.0/23", "100.64.2.0/24"),
             way("m2-core", 3, "100.64.3.0/24")),
    ),
    links=(
        api.Link(name="gnb1-phone", a="phone", b="m1"),
        api.Link(name="gnb2-phone", a="phone", b="m2"),
        api.Link(name="gnb1-tablet", a="tablet", b="m1"),
        api.Link(name="m1-core", a="m1", b="core"),
        api.Link(name="m2-core", a="m2", b="core"),
    ),
)  # fmt: skip


def path(spec: api.MeshSpec, source: str, target: str) -> list[str]:
    """Hosts on the way, each following its own narrowest route; ends in `…` where there is none."""
    hosts = {one.name: one for one in spec.hosts}
    by_address = {one.address: one.name for one in spec.hosts}
    goal = ipaddress.IPv4Address(hosts[target].address)
    found = [source]
    while found[-1] != target:
        nets = [
            (ipaddress.IPv4Network(to), number, route)
            for number, route in enumerate(hosts[found[-1]].routes)
            for to in route.to
        ]
        fitting = [x for x in nets if goal in x[0]]
        if not fitting or len(found) > len(hosts):
            return [*found, "…"]
        # Of two with one destination the later one is what the kernel has.
        _, _, route = max(fitting, key=lambda x: (x[0].prefixlen, x[1]))
        found.append(by_address[route.via])
    return found


def test_nothing_moves_nothing_changes() -> None:
    assert routed(SPEC, {}) is SPEC
    assert path(SPEC, "core", "phone") == ["core", "m1", "phone"]


def test_all_ways_lead_to_where_it_is() -> None:
    moved = routed(SPEC, {"phone": "gnb2-phone"})
    assert path(moved, "core", "phone") == ["core", "m2", "phone"]
    assert path(moved, "m1", "phone") == ["m1", "core", "m2", "phone"]
    assert path(moved, "m2", "phone") == ["m2", "phone"]
    assert path(moved, "tablet", "phone") == ["tablet", "m1", "core", "m2", "phone"]
    assert path(moved, "phone", "tablet") == ["phone", "m2", "core", "m1", "tablet"]
    assert path(moved, "phone", "core") == ["phone", "m2", "core"]
    others = ("core", "m1", "m2", "tablet")
    for a in others:
        for b in others:
            assert path(moved, a, b) == path(SPEC, a, b)


def test_back_home_all_ways_are_as_at_first() -> None:
    home = routed(SPEC, {"phone": "gnb1-phone"})
    names = [one.name for one in SPEC.hosts]
    assert all(path(home, a, b) == path(SPEC, a, b) for a in names for b in names)


def test_two_that_move_find_each_other() -> None:
    two = msgspec.structs.replace(
        SPEC, links=(*SPEC.links, api.Link(name="gnb2-tablet", a="tablet", b="m2"))
    )
    moved = routed(two, {"phone": "gnb2-phone", "tablet": "gnb2-tablet"})
    assert path(moved, "phone", "tablet") == ["phone", "m2", "tablet"]
    assert path(moved, "tablet", "phone") == ["tablet", "m2", "phone"]


def test_the_outside_is_reached_from_anywhere() -> None:
    core = msgspec.structs.replace(SPEC.hosts[-1], gateway=True)
    moved = routed(
        msgspec.structs.replace(SPEC, hosts=(*SPEC.hosts[:-1], core)), {"phone": "gnb2-phone"}
    )
    assert "0.0.0.0/0" in moved.hosts[0].routes[0].to


def test_where_a_host_is_follows_from_the_moment_alone() -> None:
    moves = (
        api.Move(at_s=10, host="phone", link="gnb2-phone", every_s=20),
        api.Move(at_s=20, host="phone", link="gnb1-phone", every_s=20),
        api.Move(at_s=20, host="tablet", link="gnb1-tablet"),
        api.Move(at_s=20, host="tablet", link="gnb2-tablet"),
    )
    spec = msgspec.structs.replace(SPEC, timeline=api.TimelineSpec(moves=moves))
    assert places(spec, 9.9) == {}
    assert places(spec, 10) == {"phone": "gnb2-phone"}
    assert places(spec, 20)["phone"] == "gnb1-phone"
    assert places(spec, 20)["tablet"] == "gnb2-tablet"  # of one moment the later in the file
    assert places(spec, 1_000_015)["phone"] == "gnb2-phone"


def test_only_those_whose_ways_differ_are_touched() -> None:
    away = {"phone": "gnb2-phone"}
    assert rerouted(SPEC, {}, away) == {"phone", "m1", "m2", "core"}
    assert "tablet" not in rerouted(SPEC, {}, away)  # over the same mast, whichever cell
    assert rerouted(SPEC, away, away) == set()
