"""Which way a link takes from machine to machine, and why; what of its delay is there already."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from net.links.spec import LinkSpec
from otter_agent import api
from otter_ctl.errors import PlanError
from otter_ctl.planning.parts import join, kept_opens, kept_tunnels, kept_underlay, split
from otter_ctl.planning.tunnels import Wires, too_much, unjoinable

WIRES = Wires({"m1": "10.0.0.1", "m2": "10.0.0.2"}, "ab" * 16)
OF = {"a": "m1", "b": "m2"}


def mesh(**more: Any) -> api.MeshSpec:
    hosts = tuple(
        api.HostSpec(name=n, address=f"100.64.{i}.1", block=f"100.64.{i}.0/24")
        for i, n in enumerate("ab")
    )
    spec = LinkSpec(delay_s=0.02, rate_bps=1e9)
    link = api.Link(**{"name": "l", "a": "a", "b": "b", "forward": spec, "reverse": spec, **more})
    names = {host.name: host.address for host in hosts}
    return api.MeshSpec(name="mesh", run="r", hosts=hosts, links=(link,), names=names)


def tunnels(wires: Wires, **more: Any) -> tuple[api.Tunnel, api.Tunnel]:
    parts = split(mesh(**more), OF, wires)
    for part in parts.values():
        api.check(part)
    one, other = (parts[name].links[0].tunnel for name in ("m1", "m2"))
    assert one is not None
    assert other is not None
    return one, other


def test_the_kernels_own_is_taken_where_it_can_be_had() -> None:
    assert [t.kind for t in tunnels(WIRES)] == ["vxlan", "vxlan"]


@pytest.mark.parametrize("machine", ["m1", "m2"])
def test_a_machine_without_vxlan_gets_udp_at_both_ends_and_both_say_why(machine: str) -> None:
    wires = replace(WIRES, no_vxlan={machine: "no CONFIG_VXLAN"}, ports={"m1": 14790, "m2": 15800})
    one, other = tunnels(wires)
    assert one.kind == other.kind == "udp"
    assert one.why == other.why == f"no VXLAN: {machine}: no CONFIG_VXLAN"
    assert (one.port, one.remote_port) == (other.remote_port, other.port) == (14790, 15800)
    assert one.opens
    assert other.opens


def test_behind_a_nat_the_end_that_reaches_the_other_opens() -> None:
    one, other = tunnels(replace(WIRES, deaf=frozenset({("m2", "m1")})))
    assert one.kind == other.kind == "udp"
    assert (one.opens, other.opens) == (True, False)
    assert one.why == "no VXLAN: m2 doesn't reach m1 (10.0.0.1)"


def test_where_no_ping_comes_through_at_all_it_is_as_it_was() -> None:
    deaf = frozenset({("m1", "m2"), ("m2", "m1")})
    assert [t.kind for t in tunnels(replace(WIRES, deaf=deaf))] == ["vxlan", "vxlan"]
    udp = tunnels(replace(WIRES, deaf=deaf, no_vxlan={"m1": "none"}))
    assert [(t.kind, t.opens) for t in udp] == [("udp", True), ("udp", True)]


def test_machines_that_can_have_no_link_are_known_before_hosts_are_placed() -> None:
    assert [unjoinable("m2", "m1", by, WIRES) for by in ("", "vxlan", "udp")] == ["", "", ""]
    bare = replace(WIRES, no_vxlan={"m1": "no CONFIG_VXLAN"})
    assert unjoinable("m1", "m2", "", bare) == ""
    assert unjoinable("m1", "m2", "vxlan", bare) == "m1: no CONFIG_VXLAN"
    neither = replace(bare, no_udp={"m2": "no /dev/net/tun"})
    said = "no VXLAN: m1: no CONFIG_VXLAN; no UDP: m2: no /dev/net/tun"
    assert unjoinable("m1", "m2", "", neither) == unjoinable("m2", "m1", "", neither) == said
    deaf = replace(WIRES, deaf=frozenset({("m1", "m2"), ("m2", "m1")}))
    assert unjoinable("m1", "m2", "", deaf) == "", "pings may not be let through"


def test_what_a_link_has_it_keeps() -> None:
    """A ping that is lost by chance, the next time, changes no link that runs."""
    wires = replace(WIRES, deaf=frozenset({("m2", "m1")}), underlay={
        ("m1", "m2"): api.Underlay(delay_s=0.001, rate_bps=5e8),
    })  # fmt: skip
    for first, then in ((wires, WIRES), (WIRES, wires)):
        parts = split(mesh(), OF, first)
        kept = replace(
            then,
            kept=kept_tunnels(parts, WIRES.addresses),
            kept_opens=kept_opens(parts),
            underlay=kept_underlay(parts, WIRES.addresses),
        )
        assert split(mesh(), OF, kept) == parts


def test_one_that_is_asked_for_by_name_is_had_or_refused() -> None:
    assert {t.kind for t in tunnels(WIRES, over="udp")} == {"udp"}
    none = replace(WIRES, no_vxlan={"m2": "no CONFIG_VXLAN"}, no_udp={"m1": "no /dev/net/tun"})
    for over, why in (("vxlan", "m2: no CONFIG_VXLAN"), ("udp", "m1: no /dev/net/tun")):
        with pytest.raises(PlanError, match=f'link l: tunnel = "{over}" can.t be had: {why}'):
            tunnels(none, over=over)
    with pytest.raises(PlanError, match="no way to m2"):
        tunnels(none)


UNDERLAY = {
    ("m1", "m2"): api.Underlay(delay_s=0.004, rate_bps=5e8),
    ("m2", "m1"): api.Underlay(delay_s=0.004, rate_bps=2e9),
}


def test_the_networks_delay_is_taken_off_where_the_topology_says_so() -> None:
    wires = replace(WIRES, underlay=UNDERLAY)
    assert [t.less_s for t in tunnels(wires)] == [0.0, 0.0]
    assert [t.less_s for t in tunnels(wires, subtract=True)] == [0.004, 0.004]
    short, jittery = LinkSpec(delay_s=0.003), LinkSpec(delay_s=0.005, jitter_s=0.002)
    for spec, why in ((short, "asks for 3ms, the network from"), (jittery, "its jitter is more")):
        with pytest.raises(PlanError, match=why):
            tunnels(wires, subtract=True, reverse=spec)
    with pytest.raises(PlanError, match="nobody knows"):
        tunnels(WIRES, subtract=True)


def test_a_network_that_carries_less_than_is_asked_is_told() -> None:
    wires = replace(WIRES, underlay=UNDERLAY)
    ways = [("l", LinkSpec(delay_s=0.002, rate_bps=1e9), way) for way in UNDERLAY]
    said = list(too_much(ways, wires))
    assert said == [
        "link l: the network from machine m1 to m2 (10.0.0.2) alone takes 4ms one way",
        "link l: asks for 1gbit, the network from machine m1 to m2 (10.0.0.2) carries 500mbit",
        "link l: the network from machine m2 to m1 (10.0.0.1) alone takes 4ms one way",
    ]


def test_what_the_topology_says_of_the_way_is_there_when_parts_are_joined() -> None:
    """Else a plan of the same file would change it."""
    wires = replace(WIRES, underlay=UNDERLAY)
    spec = mesh(over="udp", subtract=True)
    assert join(split(spec, OF, wires).values()).links == spec.links
