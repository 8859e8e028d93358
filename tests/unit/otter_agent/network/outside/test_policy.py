"""Where a mesh may go, what a module's resolver files say, which ports can't be had."""

from __future__ import annotations

import socket
from pathlib import Path

import msgspec
import pytest

from otter_agent import api
from otter_agent.errors import AgentError
from otter_agent.network.outside import resolver
from otter_agent.network.outside.config import RESOLVER, config_of, refused
from otter_agent.network.outside.reach import Reach
from otter_agent.publish import check_ports

ANY = "0.0.0.0"


def targets(address: str, port: int = 80, blocks: tuple[str, ...] = ("100.64.0.0/24",)):
    reach = Reach(refused(blocks), lambda: ["127.0.0.53", "9.9.9.9"])
    return reach.targets(socket.inet_aton(address), port)


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "127.255.255.254", "0.0.0.0", "169.254.169.254", "224.0.0.251",
        "255.255.255.255", "100.64.0.2", "100.127.255.1", RESOLVER,
    ],
)  # fmt: skip
def test_loopback_metadata_multicast_and_other_meshes_are_out_of_reach(address: str) -> None:
    assert targets(address) == []


@pytest.mark.parametrize("address", ["8.8.8.8", "192.168.1.7", "172.17.0.1", "100.128.0.1"])
def test_all_else_is_within_reach(address: str) -> None:
    assert targets(address) == [(address, 80)]


def test_a_mesh_with_addresses_of_its_own_reaches_the_shared_pool() -> None:
    assert targets("100.64.0.2", blocks=("10.99.0.0/24",)) == [("100.64.0.2", 80)]


def test_the_resolvers_address_stands_for_the_machines_servers() -> None:
    assert targets(RESOLVER, 53) == [("127.0.0.53", 53), ("9.9.9.9", 53)]


def test_name_servers_are_read_as_the_c_library_does(tmp_path: Path) -> None:
    conf = tmp_path / "resolv.conf"
    assert resolver.servers(conf) == []
    conf.write_text(
        "# nameserver 1.1.1.1\nsearch a b\nnameserver\nnameserver fe80::1%eth0\n"
        "nameserver 127.0.0.53 # trailing\nnameserver  10.0.0.1\nnameserver 10.0.0.2\n"
        "nameserver 10.0.0.3\nnameserver 256.1.1.1\n"
    )
    assert resolver.servers(conf) == ["127.0.0.53", "10.0.0.1", "10.0.0.2"]


def test_files_for_modules_with_and_without_a_way_out(tmp_path: Path) -> None:
    assert f"nameserver {RESOLVER}\n" in resolver.resolv_conf(reaches_out=True)
    assert "nameserver 127.0.0.1\n" in resolver.resolv_conf(reaches_out=False)
    machine = tmp_path / "nsswitch.conf"
    assert resolver.nsswitch(machine) == "hosts: files dns\n"
    machine.write_text("passwd: files systemd\nhosts:  files mdns4 resolve [!UNAVAIL=return] dns\n")
    assert resolver.nsswitch(machine) == "passwd: files systemd\nhosts: files dns\n"


def test_the_answer_server_failure() -> None:
    query = bytes.fromhex("abcd01000001000000000000") + b"\7example\0\0\1\0\1"
    answer = resolver.failure(query)
    assert answer is not None
    assert answer[:2] == query[:2]
    assert answer[2] & 0x80
    assert answer[3] & 0x0F == 2
    assert answer[4:] == query[4:]
    assert resolver.failure(answer) is None, "an answer is never answered"
    assert resolver.failure(b"short") is None


# --- ports ---------------------------------------------------------------------------------------


def mesh(name: str, *ports: api.Publish, gateway: bool = False) -> api.MeshSpec:
    host = api.HostSpec(name="h", address="100.64.0.1", block="100.64.0.0/24", gateway=gateway)
    module = api.ModuleSpec(
        name=f"{name}-web", host="h", address="100.64.0.2", runtime="process", publish=ports
    )
    return api.MeshSpec(name=name, run="r", hosts=(host,), modules=(module,))


def port(number: int, listen: str = "127.0.0.1", protocol: str = "tcp") -> api.Publish:
    return msgspec.convert(
        {"port": 80, "listen_port": number, "host": "h", "listen": listen, "protocol": protocol},
        api.Publish,
    )


def nobody(protocol: str, address: str, number: int) -> str:
    return ""


@pytest.mark.parametrize(
    ("mine", "theirs", "clash"),
    [
        (port(80), port(80), True),
        (port(80), port(81), False),
        (port(80), port(80, protocol="udp"), False),
        (port(80), port(80, ANY), True),
        (port(80, ANY), port(80, "10.0.0.1"), True),
        (port(80, "10.0.0.2"), port(80, "10.0.0.1"), False),
    ],
)
def test_a_port_of_another_mesh_is_refused_by_name(mine, theirs, clash: bool) -> None:
    if not clash:
        check_ports(mesh("mine", mine), None, [mesh("theirs", theirs)], nobody)
        return
    with pytest.raises(AgentError, match=r"mesh theirs \(module theirs-web\)") as caught:
        check_ports(mesh("mine", mine), None, [mesh("theirs", theirs)], nobody)
    assert caught.value.code == "port-taken"
    with pytest.raises(AgentError, match="module mine-web of this mesh"):
        check_ports(mesh("mine", mine, theirs), None, [], nobody)


def test_what_is_published_already_is_ones_own() -> None:
    def somebody(protocol: str, address: str, number: int) -> str:
        return "nginx (pid 7)"

    before = mesh("mine", port(80))
    check_ports(before, before, [], somebody)
    with pytest.raises(
        AgentError, match=r"tcp port 81 of 127\.0\.0\.1 is taken by nginx \(pid 7\)"
    ):
        check_ports(mesh("mine", port(80), port(81)), before, [], somebody)


def test_a_config_has_what_the_spec_says_and_no_more() -> None:
    assert not config_of("a1", mesh("plain"))
    config = config_of("a1", mesh("m", port(80), gateway=True))
    (door,) = config.doors
    assert (door.netns, door.source, door.address) == ("otter-a1+m+h", "100.64.0.1", "100.64.0.2")
    assert [g.netns for g in config.gateways] == ["otter-a1+m+~h"]
    assert not config.within({"otter-a1+m+other"})
    assert config.within({"otter-a1+m+h"}).doors == config.doors
