import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from net.links import header


def ipv4(tos: int, length: int = 40) -> bytes:
    """A header with its checksum, and nothing in it."""
    parts = [0x45, tos, length, 1, 0, 64, 17, 0, 0x0A000001, 0x0A000002]
    raw = struct.pack(">BBHHHBBHII", *parts)
    total = sum(struct.unpack(">10H", raw))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    parts[7] = ~total & 0xFFFF
    return struct.pack(">BBHHHBBHII", *parts) + bytes(length - 20)


@pytest.mark.slow
@given(tos=st.integers(0, 255), start=st.sampled_from([0, 10]))
def test_a_mark_is_what_the_sender_would_have_computed(tos, start):
    before = bytes(start) + ipv4(tos)
    after = header.marked(before, start)
    if tos & 3 == 0:
        assert after is None
    else:
        assert after == bytes(start) + ipv4(tos | 3)


@pytest.mark.parametrize(("ecn", "result"), [(0, None), (1, 3), (2, 3), (3, 3)])
def test_ipv6_is_marked_too(ecn, result):
    packet = bytes([0x6A, ecn << 4 | 0x05]) + bytes(58)
    after = header.marked(packet)
    assert (None if after is None else (after[0], after[1])) == (
        None if result is None else (0x6A, result << 4 | 0x05)
    )


@given(st.binary(max_size=60))
def test_garbage_is_not_marked_nor_fails(packet):
    after = header.marked(packet)
    assert after is None or len(after) == len(packet)


@given(packet=st.binary(min_size=1, max_size=60), draw=st.floats(0, 1, exclude_max=True))
def test_one_bit_is_wrong_and_none_before_the_packet(packet, draw):
    changed = header.with_wrong_bit(b"head" + packet, draw, 4)
    assert changed[:4] == b"head"
    flipped = int.from_bytes(changed, "big") ^ int.from_bytes(b"head" + packet, "big")
    assert flipped.bit_count() == 1


def test_an_empty_packet_has_no_wrong_bit():
    assert header.with_wrong_bit(b"head", 0.5, 4) == b"head"
