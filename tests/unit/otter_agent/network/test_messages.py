"""Bytes of rtnetlink messages, field by field as the kernel's headers lay them out."""

from __future__ import annotations

import struct

import pytest

from otter_agent.network import messages
from otter_agent.network.operations import (
    AddAddress,
    AddPair,
    BringUp,
    DeleteDevice,
    DeleteRoute,
    PutRoute,
)

TO = (bytes([100, 64, 1, 0]), 24)
VIA = bytes([100, 64, 1, 1])


def attributes(body: bytes, start: int) -> dict[int, bytes]:
    found = {}
    while start < len(body):
        length, key = struct.unpack_from("=HH", body, start)
        found[key & 0x3FFF] = body[start + 4 : start + length]
        start += length + 3 & ~3
    assert start == len(body)
    return found


def test_a_route_over_an_unnumbered_link() -> None:
    kind, flags, body, _ = messages.encode(PutRoute(TO, VIA, 3, "l0"))
    assert (kind, flags) == (24, 0x500)
    assert body[:12] == bytes([2, 24, 0, 0, 254, 79, 0, 1, 4, 0, 0, 0])
    assert attributes(body, 12) == {1: TO[0], 4: b"\3\0\0\0", 5: VIA}
    assert messages.parse_route(body) == (TO, (VIA, 3))


def test_a_route_to_what_is_on_the_link() -> None:
    _, _, body, _ = messages.encode(PutRoute((VIA, 32), None, 9, "m.a"))
    assert body[:12] == bytes([2, 32, 0, 0, 254, 79, 253, 1, 0, 0, 0, 0])
    assert messages.parse_route(body) == ((VIA, 32), (None, 9))


@pytest.mark.parametrize(("place", "value"), [(0, 10), (4, 255), (5, 3), (7, 6)])
def test_routes_that_are_not_ours(place: int, value: int) -> None:
    """Another family, table or protocol, or a blackhole."""
    body = bytearray(messages.encode(PutRoute(TO, VIA, 3, "l0")).body)
    body[place] = value
    assert messages.parse_route(bytes(body)) is None


def test_deleting_a_route_names_our_protocol_only() -> None:
    kind, _, body, _ = messages.encode(DeleteRoute(TO))
    assert kind == 25
    assert (body[5], body[6]) == (79, 255)


def test_an_address() -> None:
    kind, _, body, _ = messages.encode(AddAddress(VIA))
    assert kind == 20
    assert body[:8] == bytes([2, 32, 0, 0, 1, 0, 0, 0])
    assert attributes(body, 8) == {1: VIA, 2: VIA}
    assert messages.parse_address(body) == (1, VIA, 32)


def test_127_is_nobodys() -> None:
    body = messages.encode(AddAddress(bytes([127, 0, 0, 1]))).body
    assert messages.parse_address(body) is None


def test_a_pair_of_devices() -> None:
    mac = bytes([2, 0, 0, 0, 0, 7])
    kind, flags, body, _ = messages.encode(AddPair("l0", 2, mac, "h1", "l0", 5), 42)
    assert (kind, flags) == (16, 0x600)
    here = attributes(body, 16)
    assert (here[3], here[1], here[4]) == (b"l0\0", mac, struct.pack("=I", 1500))
    info = attributes(here[18], 0)
    assert info[1] == b"veth\0"
    peer = attributes(info[2], 0)[1]
    assert struct.unpack_from("=i", peer, 4) == (5,)
    there = attributes(peer, 16)
    assert (there[3], there[1], there[28]) == (b"l0\0", mac, struct.pack("=I", 42))
    assert struct.unpack_from("=II", body, 8) == (0x81, 0x81)
    assert struct.unpack_from("=II", peer, 8) == (0x80, 0x80)
    device = messages.parse_link(body)
    assert (device.index, device.name, device.up, device.kind, device.mac) == (
        2, "l0", True, "veth", mac,
    )  # fmt: skip


def test_up_and_delete() -> None:
    up, delete = messages.encode(BringUp(4, "l0")), messages.encode(DeleteDevice(4, "l0"))
    assert (up.kind, up.body) == (16, struct.pack("=BxHiII", 0, 0, 4, 1, 1))
    assert (delete.kind, delete.body) == (17, struct.pack("=BxHiII", 0, 0, 4, 0, 0))


def test_a_damaged_attribute_ends_the_reading() -> None:
    """A length of 0 must not make it read on forever."""
    body = struct.pack("=BxHiII", 0, 0, 4, 1, 1) + b"\0\0\3\0"
    assert messages.parse_link(body).name == ""


def test_operations_say_what_they_do() -> None:
    assert str(PutRoute(TO, VIA, 3, "l0")) == "add route 100.64.1.0/24 via 100.64.1.1 dev l0"
    assert str(PutRoute((VIA, 32), None, 3, "m.a")) == "add route 100.64.1.1/32 dev m.a"
    assert str(AddPair("l0", 2, b"", "h1", "l0", 5)) == "add device l0 (pair with h1:l0)"
