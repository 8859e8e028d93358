"""What is of the driver `netem` only: its qdiscs, as `tc` sees them, and what they do."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import replace
from typing import Any

import pytest
from helpers import netns
from helpers.link_bench import Bench, Link, make_pair, numbers, open_descriptors

from net.links.spec import LinkSpec
from otter_agent.errors import NetworkError
from otter_agent.links.base import Direction
from otter_agent.links.netem import NetemDriver, medium, segments
from otter_agent.links.netem.place import detour_device
from otter_agent.network import names, namespaces

EVERYTHING = LinkSpec(
    delay_s=0.02,
    jitter_s=0.002,
    loss_gilbert=(0.01, 0.3, 0.9, 0.0),
    rate_bps=20e6,
    queue_bytes=60_000,
    overhead_bytes=8,
    corrupt_ratio=0.01,
)


@pytest.fixture
def bench() -> Iterator[Bench]:
    driver = NetemDriver()
    with Bench(driver) as made:
        yield made
    driver.close()


def tc(netns: str, *argv: str) -> str:
    done = subprocess.run(["tc", "-n", netns, *argv], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def qdiscs(netns: str) -> list[dict[str, Any]]:
    found = json.loads(tc(netns, "-j", "qdisc", "show"))
    return sorted(found, key=lambda one: (one["dev"], one["handle"]))


def everything(link: Link) -> list[Any]:
    there = link.there
    return [
        qdiscs(there.source_netns),
        tc(there.source_netns, "class", "show", "dev", there.device),
        qdiscs(there.target_netns),
        tc(there.target_netns, "filter", "show", "dev", there.device, "ingress"),
    ]


# --- what is there --------------------------------------------------------------------------------


def test_tc_sees_what_was_asked(bench: Bench) -> None:
    link = bench.make_link()
    bench.apply(link.there, EVERYTHING)
    sent = {one["handle"]: one for one in qdiscs(link.there.source_netns)}
    assert (sent["4f01:"]["kind"], sent["4f01:"]["root"]) == ("netem", True)
    model = sent["4f01:"]["options"]["loss-gemodel"]
    assert (model["p"], model["r"]) == (pytest.approx(0.01), pytest.approx(0.3))
    assert model["1-h"] == pytest.approx(0.9)
    assert (sent["4f02:"]["kind"], sent["4f02:"]["parent"]) == ("htb", "4f01:1")
    assert (sent["4f03:"]["kind"], sent["4f03:"]["parent"]) == ("bfifo", "4f02:1")
    assert "rate 20Mbit" in tc(link.there.source_netns, "class", "show", "dev", link.there.device)
    got = {one["handle"]: one for one in qdiscs(link.there.target_netns)}
    assert got["4f04:"]["dev"] == detour_device(link.there.device)
    assert got["4f04:"]["options"]["rate"]["rate"] == 20e6 / 8
    assert got["4f05:"]["parent"] == "4f04:1"
    assert got["4f05:"]["options"]["delay"]["delay"] == pytest.approx(0.02)


def test_another_driver_finds_all_of_it_again_and_changes_nothing(bench: Bench) -> None:
    link = bench.make_link()
    bench.apply(link.there, EVERYTHING)
    before = everything(link)
    other = NetemDriver()
    try:
        found = other.read([link.there])[link.there]
        assert found.rate_bps == EVERYTHING.rate_bps
        assert found.queue_bytes == EVERYTHING.queue_bytes
        assert found.jitter_s == pytest.approx(0.002)
        assert other.apply({link.there: EVERYTHING})[link.there].error is None
        assert other.read([link.there])[link.there] == EVERYTHING
    finally:
        other.close()
    assert everything(link) == before


@pytest.mark.parametrize("place", ["root", "detour", "below ours"])
def test_somebody_elses_qdisc_is_refused_and_left(bench: Bench, place: str) -> None:
    link = bench.make_link()
    where, device = link.there.source_netns, link.there.device
    parent = ["root"]
    if place == "detour":
        where, device = link.there.target_netns, detour_device(device)
        subprocess.run(["ip", "-n", where, "link", "add", device, "type", "ifb"], check=True)
    elif place == "below ours":
        bench.apply(link.there, LinkSpec(loss_ratio=0.1))
        parent = ["parent", "4f01:1"]
    bucket = ["rate", "1mbit", "burst", "3000", "limit", "3000"]
    tc(where, "qdisc", "add", "dev", device, *parent, "handle", "77:", "tbf", *bucket)
    before = everything(link)
    outcome = bench.driver.apply({link.there: EVERYTHING})[link.there]
    assert outcome.applied is None
    assert "tbf 77:" in str(outcome.error)
    assert str(link.there) in str(outcome.error)
    assert everything(link) == before


def test_a_device_in_the_way_is_refused_and_left(bench: Bench) -> None:
    link = bench.make_link()
    name = detour_device(link.there.device)
    where = link.there.target_netns
    subprocess.run(["ip", "-n", where, "link", "add", name, "type", "dummy"], check=True)
    outcome = bench.driver.apply({link.there: EVERYTHING})[link.there]
    assert f"device {name} at b is somebody else's (dummy)" in str(outcome.error)


def test_what_somebody_changed_is_read_and_put_right(bench: Bench) -> None:
    link = bench.make_link()
    asked = LinkSpec(delay_s=0.02, rate_bps=1e6)
    bench.apply(link.there, asked)
    device = detour_device(link.there.device)
    netem = ["parent", "4f04:1", "handle", "4f05:", "netem", "delay", "70ms"]
    tc(link.there.target_netns, "qdisc", "change", "dev", device, *netem)
    assert bench.read(link.there).delay_s == pytest.approx(0.07)
    bench.apply(link.there, asked)
    assert bench.read(link.there) == asked


def test_what_somebody_deleted_is_made_again(bench: Bench) -> None:
    link = bench.make_link()
    asked = LinkSpec(delay_s=0.02, rate_bps=1e6)
    for side in ("source", "target"):
        bench.apply(link.there, asked)
        if side == "source":
            device = link.there.device
            tc(link.there.source_netns, "qdisc", "del", "dev", device, "root")
        else:
            device = detour_device(link.there.device)
            where = link.there.target_netns
            subprocess.run(["ip", "-n", where, "link", "del", device], check=True)
        assert bench.read(link.there) != asked
        bench.apply(link.there, asked)
        assert bench.read(link.there) == asked
        arrivals = bench.exchange(link, link.there, 10)
        assert min(arrival.delay_s for arrival in arrivals) >= 0.02


@pytest.mark.parametrize("way", ["there", "back"])
def test_what_somebody_deleted_of_a_medium_is_made_again(bench: Bench, way: str) -> None:
    link = bench.make_link()
    other = bench.make_link(hub=link)
    asked, hub = LinkSpec(rate_bps=1e6, medium="cell", delay_s=0.01), link.there.target_netns
    for one in (link, other):
        for direction in (one.there, one.back):
            bench.apply(direction, asked)
    direction: Direction = getattr(link, way)
    devices = [*medium.devices("cell"), medium.entry_device(link.there.device)]
    for device in devices:
        subprocess.run(["ip", "-n", hub, "link", "del", device], check=True)
        found = bench.driver.read([link.there, link.back])
        assert asked in found.values() if device[0] == "e" else asked not in found.values()
        for each in (link.there, link.back, other.there, other.back):
            bench.apply(each, asked)
            assert bench.read(each) == asked
        assert numbers(bench.exchange(link, direction, 10)) == list(range(10))


def test_another_driver_finds_a_medium_again_and_changes_nothing(bench: Bench) -> None:
    link = bench.make_link()
    asked = LinkSpec(rate_bps=1e6, medium="cell", medium_weight=2.0)
    there, hub = link.there, link.there.target_netns
    both = {there: asked, link.back: asked}
    bench.driver.apply(both)

    def all_of_it() -> list[str]:
        shown = [tc(hub, "qdisc", "show"), tc(hub, "class", "show", "dev", there.device)]
        for device in medium.devices("cell"):
            shown += [tc(hub, "class", "show", "dev", device)]
            shown += [tc(hub, "filter", "show", "dev", device, "ingress")]
        return shown

    before = all_of_it()
    with closing(NetemDriver()) as other:
        outcomes = other.apply(both)
        assert not [str(outcome.error) for outcome in outcomes.values() if outcome.error]
        assert other.read(both) == both
        assert all_of_it() == before
        other.forget("mesh", [link.back])
    assert "class drr" in tc(hub, "class", "show", "dev", medium.devices("cell")[0])
    bench.driver.forget("mesh")


def test_a_device_that_took_anothers_index_is_not_mistaken_for_it(bench: Bench) -> None:
    link = bench.make_link()
    there = link.there
    bench.apply(there, LinkSpec(delay_s=0.02, loss_ratio=0.1))
    for where in (there.source_netns, there.target_netns):
        ip = ["ip", "-n", where, "link", "set", there.device]
        subprocess.run([*ip, "down"], check=True)
        subprocess.run([*ip, "name", "renamed"], check=True)
    outcome = bench.driver.apply({there: LinkSpec(delay_s=0.5)})[there]
    assert f"there is no device {there.device}" in str(outcome.error)
    assert "20ms" in tc(there.target_netns, "qdisc", "show")


def test_a_forgotten_mesh_keeps_no_namespace_alive(bench: Bench) -> None:
    link, other = bench.make_link(), bench.make_link(mesh="other")
    for one in (link, other):
        bench.apply(one.there, EVERYTHING)
    before = open_descriptors()
    bench.driver.forget("mesh")
    assert before - open_descriptors() == 4  # two at each end


def test_a_link_that_was_made_anew_is_shaped_anew(bench: Bench) -> None:
    """Its devices have the indices of those before, and the device of the detour has stayed."""
    link = bench.make_link()
    there, asked = link.there, LinkSpec(delay_s=0.1, loss_ratio=0.5)
    for _ in range(2):
        bench.apply(there, asked)
    before = everything(link)
    where, name = [there.source_netns, there.target_netns], there.device
    a, b = (str(netns.ip("link", "show", name, netns=one)[0]["ifindex"]) for one in where)
    ip = ["ip", "-n", where[0], "link"]
    subprocess.run([*ip, "del", name], check=True)
    peer = ["type", "veth", "peer", "name", name, "index", b, "netns", where[1]]
    subprocess.run([*ip, "add", name, "index", a, *peer], check=True)
    for one in where:
        subprocess.run(["ip", "-n", one, "link", "set", name, "up"], check=True)
    bench.apply(there, asked)
    assert everything(link) == before
    assert bench.read(there) == asked


def test_of_a_link_that_goes_nothing_stays_where_others_are(bench: Bench) -> None:
    link = bench.make_link()
    there = link.there
    make_pair("veth", there.source_netns, there.target_netns, "other")
    other = replace(there, link="other", device="other")
    for one in (there, other):
        bench.apply(one, LinkSpec(delay_s=0.02))
    bench.driver.forget("mesh", keep=[there, link.back])
    devices = {one["ifname"] for one in netns.ip("link", netns=there.target_netns)}
    assert detour_device(there.device) in devices
    assert detour_device("other") not in devices
    assert bench.read(there) == LinkSpec(delay_s=0.02)


# --- what it does ---------------------------------------------------------------------------------


def test_a_packet_takes_its_time_at_the_rate_even_when_it_is_alone(bench: Bench) -> None:
    link = bench.make_link()
    bench.apply(link.there, LinkSpec(rate_bps=100_000))
    (arrival,) = bench.exchange(link, link.there, 1, size=1250)
    assert arrival.delay_s >= 0.1


@pytest.mark.parametrize("size", [60, 600, 1500])
def test_a_queue_of_bytes_holds_bytes_of_ip_and_none_that_are_in_flight(
    bench: Bench, size: int
) -> None:
    link = bench.make_link()
    # Slow enough that nothing leaves meanwhile: 2.4 s a packet; a second in flight before it.
    bench.apply(link.there, LinkSpec(rate_bps=200, queue_bytes=6000, delay_s=1.0))
    sender, _, address = link.ends(link.there)
    for _ in range(200):
        sender.sendto(bytes(size - 28), (address, 4000))
    counted = bench.counters(link.there)
    assert sum(counted.dropped.values()) == 200 - 6000 // size - 1
    assert counted.dropped == {"queue": 200 - 6000 // size - 1}
    assert counted.waiting_bytes == (6000 // size + 1) * size


def test_changes_of_rate_hand_out_nothing(bench: Bench) -> None:
    """TBF and HFSC let packets go at each change of their rate."""
    link, size, rate = bench.make_link(), 1000, 1e6

    def change(number: int) -> None:
        bench.apply(link.there, LinkSpec(rate_bps=rate + number % 2, queue_packets=1000))

    arrivals = bench.exchange(link, link.there, 300, size=size, between=change, burst=1000)
    assert numbers(arrivals) == list(range(300))
    taken_s = arrivals[-1].seen_s - arrivals[0].sent_s
    assert taken_s >= (300 - 1) * size * 8 / (rate + 1)


def test_order_is_kept_when_packets_crowd_under_jitter(bench: Bench) -> None:
    link = bench.make_link()
    bench.apply(link.there, LinkSpec(delay_s=0.05, jitter_s=0.02))
    assert numbers(bench.exchange(link, link.there, 500)) == list(range(500))


@pytest.mark.parametrize("discipline", ["codel", "red"])
def test_what_can_be_marked_is_marked_instead_of_dropped(bench: Bench, discipline) -> None:
    link = bench.make_link()
    bench.apply(
        link.there,
        LinkSpec(rate_bps=1e6, queue_discipline=discipline, ecn=True, queue_bytes=600_000),
    )
    sender, _, _ = link.ends(link.there)
    sender.setsockopt(0, 1, 1)  # IP_TOS: ECT(1)
    arrivals = bench.exchange(link, link.there, 300, size=1000, burst=1000)
    counted = bench.counters(link.there)
    assert counted.marked > 0
    if discipline == "codel":
        assert len(arrivals) == 300


def test_drops_are_told_by_their_cause(bench: Bench) -> None:
    link = bench.make_link()
    bench.apply(link.there, LinkSpec(loss_ratio=1.0))
    bench.exchange(link, link.there, 10)
    bench.apply(link.there, LinkSpec(up=False))
    bench.exchange(link, link.there, 20)
    bench.apply(link.there, LinkSpec())
    bench.exchange(link, link.there, 30)
    counted = bench.counters(link.there)
    assert dict(counted.dropped) == {"loss": 10, "down": 20}
    assert counted.packets == 30


# --- super-packets --------------------------------------------------------------------------------


@pytest.fixture
def plugged() -> Iterator[tuple[list[int], str]]:
    """Processes of two modules at two hosts, and the name of the second one's namespace."""
    spec = netns.chain("mesh", 2)
    with netns.network() as network, netns.module_process() as a, netns.module_process() as b:
        network.converge(spec)
        for number, (name, pid) in enumerate({"a": a, "b": b}.items()):
            network.plug("mesh", spec.hosts[number], name, netns.address(number, 2), pid)
        yield [a, b], names.namespace(network._agent_id, "mesh", "h1")


def connect(pids: list[int]) -> tuple[socket.socket, socket.socket]:
    with netns.socket_in(pids[1], socket.SOCK_STREAM) as listener:
        listener.bind((netns.address(1, 2), 0))
        listener.listen()
        client = netns.socket_in(pids[0], socket.SOCK_STREAM)
        client.connect(listener.getsockname())
        return client, listener.accept()[0]


def largest_packet(router: str, client: socket.socket, server: socket.socket) -> int:
    """Of those that come in over the link while a megabyte is sent."""

    def tap() -> socket.socket:
        namespaces.enter(router)
        made = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(0x0800))
        made.setsockopt(socket.SOL_SOCKET, 33, 64 << 20)  # SO_RCVBUFFORCE
        made.bind(("l0", 0x0800))
        return made

    with namespaces.in_own_thread(tap) as tapped:
        sender = threading.Thread(target=client.sendall, args=(bytes(1_000_000),))
        sender.start()
        got = 0
        while got < 1_000_000:
            got += len(server.recv(1 << 16))
        sender.join()
        sizes = []
        with suppress(BlockingIOError):
            while True:
                flags = socket.MSG_TRUNC | socket.MSG_DONTWAIT
                sizes.append(len(tapped.recv(1 << 16, flags)))
    return max(sizes)


def test_no_packet_of_tcp_is_above_the_mtu_once_segments_are_limited(plugged) -> None:
    pids, router = plugged
    before = connect(pids)
    assert largest_packet(router, *before) > 1500
    for pid in pids:
        segments.limit_module(pid, "mesh/a", shaped=True)
        segments.limit_module(pid, "mesh/a", shaped=True)
    after = connect(pids)
    assert largest_packet(router, *before) <= 1500
    assert largest_packet(router, *after) <= 1500
    for pid in pids:
        segments.limit_module(pid, "mesh/a", shaped=False)
    anew = connect(pids)
    assert largest_packet(router, *anew) > 1500
    for one in (*before, *after, *anew):
        one.close()


def test_limits_are_never_set_in_the_machines_own_namespace() -> None:
    with pytest.raises(NetworkError, match="the machine's own network namespace"):
        segments.limit_module(os.getpid(), "mesh/a", shaped=True, device="lo")


def test_a_device_that_is_not_there_has_no_limit(plugged) -> None:
    pids, router = plugged
    with pytest.raises(NetworkError, match=r"mesh/a: network could not limit segments: .*ENODEV"):
        segments.limit_module(pids[0], "mesh/a", shaped=True, device="eth7")
    with pytest.raises(NetworkError, match=r"mesh/~h1: .*ENOENT"):
        segments.limit_router("no-such-netns", "o.outside", "mesh/~h1", shaped=True)
    segments.limit_router(router, "m.b", "mesh/h1", shaped=True)
