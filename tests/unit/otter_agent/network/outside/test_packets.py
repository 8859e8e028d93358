"""Packets that a gateway makes: right in every checksum, whatever is in them."""

from __future__ import annotations

import socket
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otter_agent.network.outside import packets

PORTS = st.integers(1, 65535)
ADDRESSES = st.binary(min_size=4, max_size=4)


def syn(at: packets.Ends, sequence: int = 7, options: bytes = b"\x02\x04\x05\xb4") -> bytes:
    """A SYN as a virtual device hands it on: without a checksum."""
    head = struct.pack("!HHIIBBHHH", at.source_port, at.target_port, sequence, 0,
                       5 + len(options) // 4 << 4, 2, 64240, 0xBAD, 0)  # fmt: skip
    body = head + options
    return struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(body), 1, 0, 63, 6, 0,
                       at.source, at.target) + body  # fmt: skip


def checks(packet: bytes) -> bool:
    """Whether a TCP packet's checksum holds (RFC 793, 3.1)."""
    body = packets.payload(packet)
    return packets.checksum(packet[12:20] + struct.pack("!BBH", 0, 6, len(body)) + body) == 0


def test_the_checksum_of_rfc_1071() -> None:
    assert packets.checksum(bytes.fromhex("0001f203f4f5f6f7")) == 0x220D
    assert packets.checksum(b"\xff") == 0x00FF


@pytest.mark.slow
@given(ADDRESSES, PORTS, ADDRESSES, PORTS, st.integers(0, 2**32 - 1))
def test_a_syn_is_handed_back_whole_and_refused_rightly(
    source: bytes, source_port: int, target: bytes, target_port: int, sequence: int
) -> None:
    at = packets.Ends(source, source_port, target, target_port)
    packet = syn(at, sequence)
    assert packets.ends(packet) == at
    back = packets.with_checksum(packet + b"padding of the device")
    assert checks(back)
    assert back[:36] == packet[:36]
    assert back[38:] == packet[38:]

    refusal = packets.reset(packet)
    assert checks(refusal)
    assert packets.ends(refusal) == packets.Ends(target, target_port, source, source_port)
    acknowledged, flags = struct.unpack_from("!IxB", refusal, 28)
    assert acknowledged == (sequence + 1) % 2**32
    assert flags == 0x14


@pytest.mark.slow
@given(ADDRESSES, ADDRESSES, st.sampled_from([1, 3, 13]))
def test_unreachable_quotes_what_was_sent(source: bytes, target: bytes, code: int) -> None:
    sent = packets.datagram_head(packets.Ends(source, 5, target, 6))
    answer = packets.unreachable(sent, code, b"\x0a\0\0\1")
    message = packets.payload(answer)
    assert answer[16:20] == source
    assert message[:2] == bytes([3, code])
    assert packets.checksum(message) == 0
    assert message[8:] == sent


@pytest.mark.slow
@given(st.integers(0, 65535), st.binary(min_size=2, max_size=60))
def test_echo(identifier: int, rest: bytes) -> None:
    message = packets.echo(packets.ECHO_REPLY, identifier, rest)
    assert packets.checksum(message) == 0
    assert struct.unpack_from("!H", message, 4) == (identifier,)
    carried = packets.carry(message, b"\1\2\3\4", socket.inet_aton("100.64.0.2"))
    assert packets.payload(carried) == message
