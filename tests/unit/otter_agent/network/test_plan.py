"""Plans, carried out on a model of the kernel: they reach the spec, and then ask for nothing."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Callable, Sequence
from functools import partial

import msgspec
import pytest
from helpers.netns import address, block, chain
from hypothesis import given, settings
from hypothesis import strategies as st

from otter_agent import api
from otter_agent.errors import NetworkError
from otter_agent.links.base import DeviceKind
from otter_agent.network import names
from otter_agent.network.operations import (
    LOOPBACK,
    AddAddress,
    AddPair,
    AddTun,
    AddTunnel,
    BringUp,
    DeleteAddress,
    DeleteDevice,
    DeleteRoute,
    Op,
    PutRoute,
    RenameDevice,
    SetMtu,
)
from otter_agent.network.plan import Plan, plan
from otter_agent.network.state import Desired, Device, Seen, desired

ID = "unit"


class Kernel:
    """Namespaces as plain data; knows what the real one does by itself."""

    def __init__(self) -> None:
        self.seen: dict[str, Seen] = {}
        self.ends: dict[tuple[str, int], tuple[str, int]] = {}
        self.after_each: Callable[[], object] = lambda: None

    def converge(self, want: Desired, stop_after: int | None = None) -> int:
        """Carry a plan out, or its first operations only; returns how many there were."""
        steps = plan(want, {h: s for h, s in self.seen.items() if h in want.routers})
        done = 0
        for host, op in flatten(steps):
            if done == stop_after:
                return done
            done += 1
            if op is None:
                self.seen[host] = Seen({"lo": Device(LOOPBACK, "lo", False, "", b"", 0, 65536)})
            else:
                self._do(host, op)
            self.after_each()
        for host in set(self.seen) - set(want.routers):
            for device in list(self.seen[host].devices.values()):
                self._delete(host, device.index)
            del self.seen[host]
        return done

    def _do(self, host: str, op: Op) -> None:
        here = self.seen[host]
        match op:
            case AddPair():
                assert op.device not in here.devices
                assert op.peer_device not in self.seen[op.peer_host].devices
                a, b = (host, op.index), (op.peer_host, op.peer_index)
                assert a not in self.ends
                assert b not in self.ends
                self.ends[a], self.ends[b] = b, a
                self._add(host, Device(a[1], op.device, True, "veth", op.mac, b[1], op.mtu))
                self._add(b[0], Device(b[1], op.peer_device, False, "veth", op.mac, a[1], op.mtu))
            case AddTun():
                assert op.device not in here.devices
                self._add(host, Device(op.index, op.device, False, "tun", b"", 0, 1500))
            case SetMtu():
                resized = dataclasses.replace(self._device(host, op.index), mtu=op.mtu)
                self._add(host, resized)
            case AddTunnel():
                assert op.device not in here.devices
                self._add(host, Device(op.index, op.device, True, "vxlan", op.mac, 0, op.mtu))
            case RenameDevice():
                assert op.name not in here.devices
                device = here.devices.pop(op.device, None)  # it may be gone with its other end
                if device is not None:
                    self._add(host, dataclasses.replace(device, name=op.name))
            case DeleteDevice():
                self._delete(host, op.index)  # it may be gone with its other end
            case BringUp():
                self._add(host, self._replaced(self._device(host, op.index), up=True))
            case AddAddress():
                here.addresses.add((op.index, op.address, 32))
            case DeleteAddress():
                here.addresses.remove((op.index, op.address, op.prefix))
            case PutRoute():
                assert self._device(host, op.index).up
                if op.inward:
                    here.inward = op.index
                    return
                assert op.via is not None
                here.routes[op.to] = op.via, op.index
            case DeleteRoute():
                del here.routes[op.to]

    def _add(self, host: str, device: Device) -> None:
        self.seen[host].devices[device.name] = device

    def _device(self, host: str, index: int) -> Device:
        return next(d for d in self.seen[host].devices.values() if d.index == index)

    def _replaced(self, d: Device, *, up: bool) -> Device:
        return dataclasses.replace(d, up=up)

    def _delete(self, host: str, index: int) -> None:
        other = self.ends.pop((host, index), None)
        here = self.seen[host]
        here.devices = {n: d for n, d in here.devices.items() if d.index != index}
        here.routes = {to: hop for to, hop in here.routes.items() if hop[1] != index}
        here.inward = 0 if here.inward == index else here.inward
        if other is not None:
            self._delete(*other)


def flatten(steps: Plan) -> list[tuple[str, Op | None]]:
    """All operations in order; None makes the namespace."""
    found: list[tuple[str, Op | None]] = []
    found += [(host, op) for host, ops in steps.remove.items() for op in ops]
    found += [(host, None) for host in steps.create]
    for step in (steps.setup, steps.up, steps.route, steps.retire):
        found += [(host, op) for host, ops in step.items() for op in ops]
    return found


def contents(kernel: Kernel) -> object:
    """What is there, without indices."""
    return {host: _contents(seen) for host, seen in kernel.seen.items()}


def _contents(seen: Seen) -> object:
    by_index = {d.index: d.name for d in seen.devices.values()}
    return (
        sorted((d.name, d.up, d.kind, d.mac, d.mtu) for d in seen.devices.values()),
        sorted(seen.addresses),
        {to: (via, by_index[index]) for to, (via, index) in seen.routes.items()},
        by_index.get(seen.inward),
    )


def anew(want: Desired) -> object:
    kernel = Kernel()
    kernel.converge(want)
    return contents(kernel)


def random_spec(seed: int) -> api.MeshSpec:
    """Any graph on up to five hosts, with any routes over its links."""
    rng = random.Random(seed)
    count = rng.randint(1, 5)
    links = tuple(
        api.Link(name=f"l{i}", a=f"h{a}", b=f"h{b}")
        for i, (a, b) in enumerate(_edges(rng, count))
        if rng.random() < 0.8
    )
    links = tuple(map(partial(_away, rng), links))
    hosts = tuple(_random_host(rng, i, count, links) for i in range(count))
    mtu = rng.choice((1500, 1500, 1450))
    return api.MeshSpec(name="mesh", run="test", hosts=hosts, links=links, mtu=mtu)


def _away(rng: random.Random, link: api.Link) -> api.Link:
    """Some lead to another machine, whose host this one doesn't have."""
    if rng.random() < 0.7:
        return link
    remote = f"10.0.0.{rng.choice((2, 3))}"
    tunnel = api.Tunnel(host="far", local="10.0.0.1", remote=remote, vni=7, key="0" * 32)
    return msgspec.structs.replace(link, b="far", tunnel=tunnel)


def _edges(rng: random.Random, count: int) -> Sequence[tuple[int, int]]:
    if count < 2:
        return []
    return [tuple(rng.sample(range(count), 2)) for _ in range(6)]  # type: ignore[misc]


def random_kinds(seed: int) -> dict[str, DeviceKind]:
    """Some links in user space."""
    rng = random.Random(seed)
    return {f"l{i}": "tun" for i in range(7) if rng.random() < 0.4}


def wanted(seed: int) -> Desired:
    """Any spec, with links of any kinds."""
    return desired(ID, random_spec(seed), random_kinds(seed))


def _random_host(rng: random.Random, i: int, count: int, links: Sequence[api.Link]) -> api.HostSpec:
    own = [link.name for link in links if f"h{i}" in (link.a, link.b)]
    routes = tuple(
        api.Route(to=(block(j),), via=address(rng.randrange(count)), link=rng.choice(own))
        for j in range(count)
        if own and rng.random() < 0.7
    )
    return api.HostSpec(
        name=f"h{i}", address=address(i, rng.choice((1, 1, 9))), block=block(i), routes=routes
    )


SEEDS = st.integers(0, 10**9)


@pytest.mark.slow
@given(st.lists(SEEDS, min_size=1, max_size=4))
@settings(max_examples=200, deadline=None)
def test_any_spec_is_reached_from_any_other(seeds: list[int]) -> None:
    kernel = Kernel()
    for seed in seeds:
        want = wanted(seed)
        kernel.converge(want)
        assert contents(kernel) == anew(want)
        assert kernel.converge(want) == 0


@pytest.mark.slow
@given(SEEDS, SEEDS, st.integers(0, 40), st.integers(0, 40))
@settings(max_examples=200, deadline=None)
def test_any_spec_is_reached_from_where_others_were_cut_off(
    first: int, second: int, cut: int, cut_again: int
) -> None:
    kernel = Kernel()
    kernel.converge(wanted(first), stop_after=cut)
    want = wanted(second)
    kernel.converge(want, stop_after=cut_again)
    kernel.converge(want)
    assert contents(kernel) == anew(want)


@pytest.mark.slow
@given(SEEDS, SEEDS, SEEDS)
@settings(max_examples=200, deadline=None)
def test_links_that_become_of_another_kind_lose_no_route(spec: int, one: int, other: int) -> None:
    kernel, mesh = Kernel(), random_spec(spec)
    kernel.converge(desired(ID, mesh, random_kinds(one)))
    want = desired(ID, mesh, random_kinds(other))
    routes = {host: set(seen.routes) for host, seen in kernel.seen.items()}
    kernel.after_each = lambda: _same({h: set(s.routes) for h, s in kernel.seen.items()}, routes)
    kernel.converge(want)
    assert contents(kernel) == anew(want)


def _same(now: object, before: object) -> None:
    assert now == before


def test_plugs_and_devices_of_other_kinds_stay() -> None:
    kernel = Kernel()
    want = desired(ID, chain("mesh", 2))
    kernel.converge(want)
    here = kernel.seen["h0"]
    here.devices["m.asr"] = Device(7, "m.asr", True, "veth", b"", 2)
    here.devices["tunl0"] = Device(8, "tunl0", False, "ipip", b"", 0)
    here.routes[b"\x64\x40\0\2", 32] = None, 7
    assert kernel.converge(want) == 0
    fewer = desired(ID, chain("mesh", 1))
    kernel.converge(fewer)
    assert set(kernel.seen["h0"].devices) == {"lo", "m.asr", "tunl0"}
    assert len(kernel.seen["h0"].routes) == 1


def test_a_link_turned_round_is_made_anew() -> None:
    spec = chain("mesh", 2)
    turned = msgspec.structs.replace(spec, links=(api.Link(name="l0", a="h1", b="h0"),))
    assert desired(ID, spec).pairs[0].mac != desired(ID, turned).pairs[0].mac


@pytest.mark.parametrize(
    ("link", "problem"),
    [
        (api.Link(name="x", a="h0", b="nowhere"), "no host nowhere"),
        (api.Link(name="x", a="h0", b="h0"), "two devices"),
        (api.Link(name="l0", a="h0", b="h1"), "two devices"),
    ],
)
def test_links_that_cannot_be(link: api.Link, problem: str) -> None:
    spec = chain("mesh", 2)
    with pytest.raises(NetworkError, match=problem):
        desired(ID, msgspec.structs.replace(spec, links=(*spec.links, link)))


@pytest.mark.parametrize(
    ("route", "problem"),
    [
        (api.Route(to=(block(1),), via=address(1), link="nowhere"), "doesn't lead away"),
        (api.Route(to=(block(1),), via=address(1), link="l1"), "doesn't lead away"),
        (api.Route(to=("100.64.1.1/24",), via=address(1), link="l0"), "no IPv4 network"),
        (api.Route(to=(block(1),), via="100.64.1", link="l0"), "no IPv4 address"),
    ],
)
def test_routes_that_cannot_be(route: api.Route, problem: str) -> None:
    spec = chain("mesh", 3)
    host = msgspec.structs.replace(spec.hosts[0], routes=(route,))
    with pytest.raises(NetworkError, match=problem):
        desired(ID, msgspec.structs.replace(spec, hosts=(host, *spec.hosts[1:])))


def test_two_links_whose_devices_would_share_a_name() -> None:
    spec = chain("mesh", 2)
    assert names.link_device("l0") == "l0"
    twice = (api.Link(name="l0", a="h0", b="h1"), api.Link(name="l0", a="h1", b="h0"))
    with pytest.raises(NetworkError, match="two devices of this name"):
        desired(ID, msgspec.structs.replace(spec, links=twice))
