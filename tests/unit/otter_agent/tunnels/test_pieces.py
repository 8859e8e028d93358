"""Packets that are yet to be cut become datagrams, and packets again, whatever of them is lost."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otter_agent.tunnels import datagrams, pieces

VIRTUAL = struct.Struct("=BBHHHH")


def ones(data: bytes) -> int:
    data += b"\0" * (len(data) & 1)
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total >> 16) + (total & 0xFFFF)
    return total


def whole(content: bytes, size: int, *, kind: int = 1, flags: int = 0x18) -> bytes:
    """A TCP packet as a TUN device gives it: yet to be cut, its checksum yet to be filled in."""
    source, target = bytes((100, 64, 0, 2)), bytes((100, 64, 1, 2))
    total = 40 + len(content)
    ip = struct.pack("!BBHHHBBH", 0x45, 0, total, 7, 0x4000, 64, 6, 0) + source + target
    ip = ip[:10] + struct.pack("!H", ~ones(ip) & 0xFFFF) + ip[12:]
    pseudo = ones(source + target + struct.pack("!HH", 6, total - 20))
    tcp = struct.pack("!HHIIBBHHH", 1000, 2000, 0xFFFFFF00, 5, 0x50, flags, 500, pseudo, 0)
    return VIRTUAL.pack(1, kind, 40, size, 20, 16) + ip + tcp + content


def sent(packet: bytes) -> list[pieces.Piece]:
    made = []
    for serial, (about, body) in enumerate(pieces.apart(memoryview(packet)), 1):
        head = bytes(datagrams.HEAD_BYTES - 4) + about
        flags, offset = datagrams.PACKET_HEAD.unpack(head)[-2:]
        data = memoryview(b"".join(map(bytes, body)))
        made.append(pieces.Piece(serial, flags, offset, data))
    return made


def summed(packet: bytes) -> bytes:
    """A TCP packet with its checksum, as the kernel fills it in: from where it is told to."""
    flags, _, _, _, start, at = VIRTUAL.unpack_from(packet)
    body = bytearray(packet[pieces.HEADER_BYTES :])
    assert flags == 1
    struct.pack_into("!H", body, start + at, ~ones(bytes(body[start:])) & 0xFFFF)
    return bytes(body)


def is_right(body: bytes) -> bool:
    """Whether both checksums of a TCP packet are."""
    pseudo = body[12:20] + struct.pack("!HH", 6, len(body) - 20)
    return ones(body[:20]) == 0xFFFF and ones(pseudo + body[20:]) == 0xFFFF


@pytest.mark.slow
@given(
    st.binary(min_size=1, max_size=6000),
    st.integers(100, 1400),
    st.sets(st.integers(0, 60)),
)
def test_each_piece_is_a_packet_of_its_own(content: bytes, size: int, lost: set[int]) -> None:
    """Whatever is lost, the rest says where in the connection it belongs; its sums are right."""
    cut = sent(whole(content, size))
    assert len(cut) == -(-len(content) // size)
    assert all(len(piece.body) <= 40 + size for piece in cut)
    got = bytearray(len(content))
    there = bytearray(len(content))
    for packet in pieces.together([p for n, p in enumerate(cut) if n not in lost]):
        body = summed(b"".join(map(bytes, packet)))
        assert is_right(body)
        assert struct.unpack_from("!H", body, 2) == (len(body),)
        (sequence,) = struct.unpack_from("!I", body, 24)
        at = sequence - 0xFFFFFF00 & 0xFFFFFFFF
        got[at : at + len(body) - 40] = body[40:]
        there[at : at + len(body) - 40] = b"\1" * (len(body) - 40)
        ends = at + len(body) - 40 == len(content)
        assert bool(body[33] & 0x08) == ends  # PSH goes with the end alone
    for number, piece in enumerate(cut):
        start = piece.offset
        part = slice(start, start + len(piece.body) - 40)
        assert all(there[part]) == (number not in lost)
        if number not in lost:
            assert got[part] == content[part]


def test_a_whole_that_comes_in_whole_is_handed_on_as_one() -> None:
    packet = whole(b"x" * 5000, 1398)
    [made] = pieces.together(sent(packet))
    assert b"".join(map(bytes, made)) == packet
    alone = whole(b"y" * 100, 0, kind=0)
    [made] = pieces.together(sent(alone))
    assert bytes(made[1]) == alone[pieces.HEADER_BYTES :]
    assert made[0] == VIRTUAL.pack(1, 0, 0, 0, 20, 16)


def test_only_the_first_part_says_that_the_sender_has_slowed_down() -> None:
    cut = sent(whole(b"x" * 3000, 1000, kind=0x81, flags=0x90))
    [first] = pieces.together(cut[:1])
    [rest] = pieces.together(cut[1:])
    assert bytes(first[1])[33] & 0x80
    assert not bytes(rest[1])[33] & 0x80
    assert bytes(rest[0])[1] == 0x81


@pytest.mark.slow
@given(st.lists(st.tuples(st.integers(0, 255), st.integers(0, 65535), st.binary(max_size=80))))
def test_nonsense_of_who_has_the_key_does_no_harm(told: list[tuple[int, int, bytes]]) -> None:
    found = [pieces.Piece(n, f, o, memoryview(body)) for n, (f, o, body) in enumerate(told)]
    for packet in pieces.together(found):
        assert len(b"".join(map(bytes, packet))) <= pieces.HEADER_BYTES + 65_535
    for _, _, body in told:
        list(pieces.apart(memoryview(bytes(10) + body)))
