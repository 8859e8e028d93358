"""A mesh is split into parts, and is the same when they are joined."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from net.conditions import Condition
from net.links.spec import LinkSpec
from otter_agent import api
from otter_agent.links.ways import Way
from otter_agent.routing import shortest
from otter_agent.timeline.moves import routed
from otter_ctl.deploy import prepare
from otter_ctl.planning.parts import join, kept_clock, kept_tunnels, shaper, split
from otter_ctl.planning.tunnels import Wires

MACHINES = ("m1", "m2", "m3")
WIRES = Wires({name: f"10.0.0.{n}" for n, name in enumerate(MACHINES, 1)}, "ab" * 16)


def whole(rng: random.Random) -> tuple[api.MeshSpec, dict[str, str]]:
    """Any mesh, on any machines."""
    names = [f"h{i}" for i in range(rng.randint(1, 6))]
    of = {name: rng.choice(MACHINES) for name in names}
    links = []
    for i in range(rng.randint(0, 8) if len(names) > 1 else 0):
        a, b = rng.sample(names, 2)
        medium = "gnb" if rng.random() < 0.2 else None
        ways = [LinkSpec(delay_s=0.01, rate_bps=1e6, medium=medium) for _ in range(2)]
        forward, reverse = (way if rng.random() < 0.8 else None for way in ways)
        links.append(api.Link(name=f"l{i}", a=a, b=b, forward=forward, reverse=reverse))
    hosts = tuple(
        api.HostSpec(name=n, address=f"100.64.{i}.1", block=f"100.64.{i}.0/24")
        for i, n in enumerate(names)
    )
    modules = tuple(
        api.ModuleSpec(
            name=f"x{n}", host=n, address=f"100.64.{i}.2", runtime="fake", command=("x",)
        )
        for i, n in enumerate(names)
    )
    addresses = {h.name: h.address for h in hosts} | {m.name: m.address for m in modules}
    events = tuple(
        api.TimelineEvent(
            at_s=float(i), both=(link.name,), change={"delay_s": 0.1}, text=f"event {i}"
        )
        for i, link in enumerate(links)
        if link.forward is not None or link.reverse is not None
    )
    events += tuple(
        api.TimelineEvent(
            at_s=0.0, when=when, hosts=(rng.choice(names),), change={"cpu": 1.0}, text=f"when {n}"
        )
        for n, when in enumerate(_conditions(rng, names, links))
    )
    spec = api.MeshSpec(
        name="mesh", run="r", hosts=hosts, links=tuple(links), modules=modules, names=addresses,
        timeline=api.TimelineSpec(events=events), routing=rng.choice(("static", "shortest")),
    )  # fmt: skip
    return spec, of


def _conditions(rng: random.Random, names: list[str], links: list[api.Link]) -> list[Condition]:
    found = [
        Condition(kind="module", name=f"x{rng.choice(names)}", test="restarts", bound=1),
        Condition(kind="host", name=rng.choice(names), test="cpu_above", bound=1),
    ]
    for link in links:
        for source, target, way in (
            (link.a, link.b, link.forward), (link.b, link.a, link.reverse)
        ):  # fmt: skip
            if way is not None:
                direction = f"{source}>{target}"
                found.append(
                    Condition(
                        kind="link", name=link.name, direction=direction, test="packets", bound=1
                    )
                )
    return found


@pytest.mark.slow
@given(st.integers(0, 10**9))
def test_parts_hold_everything_once_and_are_sound(seed: int) -> None:
    spec, of = whole(random.Random(seed))
    parts = split(spec, of, WIRES)
    for part in parts.values():
        api.check(part)
    again = join(parts.values())
    for what in ("hosts", "links", "modules"):
        by_name = {one.name: one for one in getattr(spec, what)}
        assert {one.name: one for one in getattr(again, what)} == by_name
    assert sorted(again.timeline.events, key=lambda e: e.text) == sorted(
        spec.timeline.events, key=lambda e: e.text
    )
    assert again.names == spec.names
    assert (again.clock, again.beyond, again.away) == ("", (), ())
    # Each condition is looked at by one machine, which has a way to tell all it concerns.
    for event in (event for event in spec.timeline.events if event.when is not None):
        has = {n: p for n, p in parts.items() if any(e.key == event.key for e in p.timeline.events)}
        (seer,) = [name for name, part in parts.items() if api.sees(part, event.when)]
        assert seer in has
        for name, part in has.items():
            talks = {other.machine: other.talk for other in part.away}
            assert name == seer or talks[seer] is not None
    for name, part in parts.items():
        assert part.clock in ("", *parts)
        talks = {other.machine: other.talk for other in part.away}
        assert name == part.clock or not part.clock or talks[part.clock] is not None
        for other, tunnel in talks.items():
            back = next(one.talk for one in parts[other].away if one.machine == name)
            assert (tunnel is None) == (back is None)
            if tunnel is not None and back is not None:
                assert (tunnel.local, tunnel.vni, tunnel.key) == (back.remote, back.vni, back.key)
                told = [p for p in parts.values() if tunnel.key.encode() in api.encode(p)]
                assert len(told) == 2  # no third machine can say anything there
    if set(of.values()) != {"local"}:
        assert set(parts) == set(of.values())
    # Each direction is made scarce once, and both ends of a tunnel agree.
    for link in spec.links:
        ends = [one for part in parts.values() for one in part.links if one.name == link.name]
        for way in ("forward", "reverse"):
            asked = [getattr(one, way) for one in ends if getattr(one, way) is not None]
            assert asked == ([getattr(link, way)] if getattr(link, way) is not None else [])
        tunnels = [one.tunnel for one in ends if one.tunnel is not None]
        assert len(tunnels) == (2 if of[link.a] != of[link.b] else 0)
        if tunnels:
            one, other = tunnels
            assert (one.local, one.vni, one.key) == (other.remote, other.vni, other.key)
            assert {one.host, other.host} == {link.a, link.b}
    assert len({part.mtu for part in parts.values()}) == 1


@pytest.mark.slow
@given(st.integers(0, 10**9))
def test_what_tunnels_have_is_kept(seed: int) -> None:
    """Another plan of the same mesh, with other links, changes no tunnel that stays."""
    spec, of = whole(random.Random(seed))
    parts = split(spec, of, WIRES)
    fewer = replace(spec, links=spec.links[1:], timeline=api.TimelineSpec())
    again = split(fewer, of, with_tunnels_of(parts))
    before = {link.name: link.tunnel for part in parts.values() for link in part.links}
    for link in (link for part in again.values() for link in part.links):
        if before[link.name] is not None and link.tunnel is not None:
            assert link.tunnel.vni == before[link.name].vni  # type: ignore[union-attr]
            assert link.tunnel.key == before[link.name].key  # type: ignore[union-attr]


@pytest.mark.slow
@given(st.integers(0, 10**9))
def test_routes_of_a_part_are_those_of_the_whole_whichever_links_are_down(seed: int) -> None:
    """Each machine works out those of its hosts, of what it knows."""
    rng = random.Random(seed)
    spec, of = whole(rng)
    spec = replace(spec, routing="shortest")
    ways = [
        Way(link.name, *ends)
        for link in spec.links
        for ends in ((link.a, link.b), (link.b, link.a))
    ]
    down = frozenset(way for way in ways if rng.random() < 0.3)
    routes = {host.name: host.routes for host in shortest(spec, down).hosts}
    for part in split(spec, of, WIRES).values():
        for host in shortest(part, down).hosts:
            assert host.routes == routes[host.name]


@pytest.mark.slow
@given(st.integers(0, 10**9))
def test_ways_to_hosts_that_move_are_those_of_the_whole(seed: int) -> None:
    rng = random.Random(seed)
    spec, of = whole(rng)
    spec = replace(spec, routing="static", timeline=api.TimelineSpec())
    spec = replace(shortest(spec, frozenset()), names=spec.names)
    movers = {link.a: link.name for link in spec.links if link.forward and link.reverse}
    moves = tuple(api.Move(at_s=1.0, host=host, link=link) for host, link in movers.items())
    spec = replace(spec, timeline=api.TimelineSpec(moves=moves))
    chosen = {host: link for host, link in movers.items() if rng.random() < 0.5}
    routes = {host.name: host.routes for host in routed(spec, chosen).hosts}
    parts = split(spec, of, WIRES)
    for part in parts.values():
        api.check(part)
        for host in routed(part, chosen).hosts:
            assert set(flat(host.routes)) == set(flat(routes[host.name]))
    assert join(parts.values()).timeline.moves == moves


def flat(routes: tuple[api.Route, ...]) -> list[tuple[str, str, str]]:
    return [(to, route.via, route.link) for route in routes for to in route.to]


def test_the_clock_stays_that_of_a_machine_that_stays() -> None:
    hosts = tuple(
        api.HostSpec(name=n, address=f"100.64.{i}.1", block=f"100.64.{i}.0/24")
        for i, n in enumerate("ab")
    )
    spec = api.MeshSpec(name="mesh", run="r", hosts=hosts)
    alone = split(spec, {"a": "m2", "b": "m2"}, WIRES)
    assert alone["m2"].clock == ""
    kept = replace_clock(WIRES, kept_clock(alone))
    both = split(spec, {"a": "m1", "b": "m2"}, kept)
    assert {part.clock for part in both.values()} == {"m2"}
    moved = split(spec, {"a": "m1", "b": "m3"}, replace_clock(WIRES, kept_clock(both)))
    assert {part.clock for part in moved.values()} == {"m1"}


def replace_clock(wires: Wires, clock: str) -> Wires:
    return dataclasses.replace(wires, clock=clock)


def with_tunnels_of(parts: Mapping[str, api.MeshSpec]) -> Wires:
    kept = kept_tunnels(parts, WIRES.addresses)
    return Wires(WIRES.addresses, "cd" * 16, WIRES.mtu, kept)


def keys(parts: Mapping[str, api.MeshSpec]) -> dict[str, set[str]]:
    """Those of links that each machine knows."""
    return {
        name: {link.tunnel.key for link in part.links if link.tunnel is not None}
        for name, part in parts.items()
    }


def test_a_key_is_known_to_the_two_machines_of_its_link_alone() -> None:
    """Not to the mesh's others, nor to one that was part of it before."""
    spec = api.MeshSpec(
        name="mesh",
        run="r",
        hosts=tuple(
            api.HostSpec(name=n, address=f"100.64.{i}.1", block=f"100.64.{i}.0/24")
            for i, n in enumerate("abc")
        ),
        links=(api.Link(name="ab", a="a", b="b"), api.Link(name="bc", a="b", b="c")),
    )
    one, two, three = MACHINES[:3]
    parts = split(spec, {"a": one, "b": two, "c": three}, WIRES)
    known = keys(parts)
    assert not known[one] & known[three]
    assert known[two] == known[one] | known[three]
    moved = split(spec, {"a": three, "b": two, "c": three}, with_tunnels_of(parts))
    assert not keys(moved)[two] & known[one]
    assert keys(moved)[two] >= known[three]  # what stays is kept


def test_a_machine_tells_of_its_own_tunnels_alone() -> None:
    told = api.Tunnel(host="b", local="10.0.0.1", remote="10.0.0.2", vni=7, key="ef" * 16)
    part = api.MeshSpec(
        name="mesh", run="r", links=(api.Link(name="ab", a="a", b="b", tunnel=told),)
    )
    addresses = {"m1": "10.0.0.1", "m2": "10.0.0.2", "m3": "10.0.0.3"}
    assert kept_tunnels({"m1": part}, addresses) == {"ab": told}
    assert kept_tunnels({"m3": part}, addresses) == {}


@pytest.mark.slow
def test_numbers_of_tunnels_differ() -> None:
    hosts = tuple(
        api.HostSpec(name=n, address=f"100.64.{i}.1", block=f"100.64.{i}.0/24")
        for i, n in enumerate("ab")
    )
    links = tuple(api.Link(name=f"l{i}", a="a", b="b") for i in range(3000))
    spec = api.MeshSpec(name="mesh", run="r", hosts=hosts, links=links)
    part = split(spec, {"a": "m1", "b": "m2"}, WIRES)["m1"]
    assert len({link.tunnel.vni for link in part.links if link.tunnel}) == 3000


def test_all_of_it_here_is_left_as_it_is() -> None:
    spec = api.MeshSpec(name="mesh", run="r")
    assert split(spec, {"h": "local"}, Wires()) == {"local": spec}
    assert join([spec]) is spec


@pytest.mark.parametrize(("medium", "machine"), [(None, "m1"), ("gnb", "m2")])
def test_what_shares_a_medium_is_together(medium: str | None, machine: str) -> None:
    link = api.Link(name="l", a="a", b="b", forward=LinkSpec(rate_bps=1e6, medium=medium))
    assert shaper(link, {"a": "m1", "b": "m2"}, forward=True) == machine
    assert shaper(link, {"a": "m1", "b": "m2"}, forward=False) == "m2"


def test_a_module_finds_a_machine_of_the_kind_it_asks_for(tmp_path) -> None:
    """Also where several machines are reached, each of which says of what kind it is."""
    (tmp_path / "mesh.toml").write_text(
        'name = "m"\n[machines.m1]\n[machines.m2]\n[hosts.a]\nmachine = "m1"\n'
        '[hosts.b]\nmachine = "m2"\n[modules.x]\ncommand = ["true"]\nruntime = "process"\n'
        'on = { arch = "arm64" }\n'
    )
    infos = {name: info(name, arch) for name, arch in (("m1", "x86_64"), ("m2", "aarch64"))}
    prepared = prepare(tmp_path / "mesh.toml", (), None, infos["m1"], infos=infos, wires=WIRES)
    assert [module.host for module in prepared.plan.spec.modules] == ["b"]


def info(name: str, arch: str) -> api.Info:
    """What an agent says of itself."""
    return api.Info(
        agent=name, version="1", api_version=1, pid=1, root="/", machine=name, cpus=2,
        memory_bytes=1 << 30, arch=arch, kernel="6", cgroup="v2", runtimes=(),
    )  # fmt: skip


def test_traces_of_cores_are_played_where_their_host_or_module_is():
    hosts = tuple(
        api.HostSpec(name=f"h{n}", address=f"100.64.{n}.1", block=f"100.64.{n}.0/24")
        for n in (1, 2)
    )
    module = api.ModuleSpec(name="x", host="h2", address="100.64.2.2", runtime="fake")
    uses = (
        api.TraceUse(link="", way="forward", name="t", blob="0" * 64, host="h1"),
        api.TraceUse(link="", way="forward", name="t", blob="0" * 64, module="x"),
    )
    spec = api.MeshSpec(
        name="mesh", run="r", hosts=hosts, modules=(module,),
        names={"h1": "100.64.1.1", "h2": "100.64.2.1", "x": "100.64.2.2"},
        timeline=api.TimelineSpec(traces=uses),
    )  # fmt: skip
    parts = split(spec, {"h1": "m1", "h2": "m2"}, WIRES)
    assert {name: p.timeline.traces for name, p in parts.items()} == {
        "m1": uses[:1], "m2": uses[1:],
    }  # fmt: skip
    for part in parts.values():
        api.check(part)
    assert join(parts.values()).timeline.traces == uses
