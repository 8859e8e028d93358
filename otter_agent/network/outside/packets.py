"""IPv4 packets taken apart and made: SYNs handed back, resets, ICMP. Pure.

    IP   0 version|IHL  2 length  8 TTL  9 protocol  12 source  16 destination
    TCP  0 source port  2 destination port  4 sequence  8 acknowledged  13 flags  16 checksum
    ICMP 0 type  1 code  2 checksum  4 identifier  6 sequence

Source: RFC 791, 792, 793, 1071, 1812 (section 5.2.7.1: code 13, administratively prohibited).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

ICMP, TCP, UDP = 1, 6, 17
ECHO_REPLY, UNREACHABLE, ECHO_REQUEST = 0, 3, 8
HOST_UNREACHABLE, PORT_UNREACHABLE, PROHIBITED = 1, 3, 13
_TTL = 64
_RST, _ACK = 0x04, 0x10
_IP = struct.Struct("!BBHHHBBH4s4s")
_TCP = struct.Struct("!HHIIBBHHH")


@dataclass(frozen=True, slots=True)
class Ends:
    """Who talks to whom; addresses are four bytes."""

    source: bytes
    source_port: int
    target: bytes
    target_port: int


def checksum(data: bytes) -> int:
    """The Internet checksum (RFC 1071)."""
    if len(data) % 2:
        data += b"\0"
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    total = (total & 0xFFFF) + (total >> 16)
    return ~(total + (total >> 16)) & 0xFFFF


def payload(packet: bytes) -> bytes:
    """What follows the IP header."""
    return packet[(packet[0] & 15) * 4 : int.from_bytes(packet[2:4], "big")]


def ends(packet: bytes) -> Ends:
    """The two ends of a TCP or UDP packet."""
    source_port, target_port = struct.unpack_from("!HH", packet, (packet[0] & 15) * 4)
    return Ends(packet[12:16], source_port, packet[16:20], target_port)


def with_checksum(packet: bytes) -> bytes:
    """A TCP packet with its checksum worked out: on virtual devices none is filled in."""
    start = (packet[0] & 15) * 4
    segment = bytearray(payload(packet))
    segment[16:18] = b"\0\0"
    segment[16:18] = _sum(packet[12:16], packet[16:20], TCP, bytes(segment))
    return packet[:start] + bytes(segment)


def reset(syn: bytes) -> bytes:
    """The answer "connection refused" to a SYN."""
    at = ends(syn)
    sequence = int.from_bytes(payload(syn)[4:8], "big")
    header = _TCP.pack(
        at.target_port, at.source_port, 0, sequence + 1 & 0xFFFFFFFF, 5 << 4, _RST | _ACK, 0, 0, 0
    )
    total = _sum(at.target, at.source, TCP, header)
    return _packet(TCP, at.target, at.source, header[:16] + total + header[18:])


def unreachable(packet: bytes, code: int, sender: bytes) -> bytes:
    """The answer "destination unreachable" to a packet: its IP header and 8 bytes come back."""
    quoted = packet[: (packet[0] & 15) * 4 + 8]
    return _icmp(struct.pack("!BBHI", UNREACHABLE, code, 0, 0) + quoted, sender, packet[12:16])


def datagram_head(at: Ends) -> bytes:
    """The start of a datagram between two ends, to quote in an `unreachable`."""
    head = struct.pack("!HHHH", at.source_port, at.target_port, 8, 0)
    return _packet(UDP, at.source, at.target, head)


def echo(kind: int, identifier: int, rest: bytes) -> bytes:
    """An ICMP echo request or reply; `rest` starts with the sequence number."""
    head = struct.pack("!BBHH", kind, 0, 0, identifier)
    total = checksum(head + rest)
    return struct.pack("!BBHH", kind, 0, total, identifier) + rest


def carry(message: bytes, source: bytes, target: bytes) -> bytes:
    """The packet that carries an ICMP message."""
    return _packet(ICMP, source, target, message)


def _icmp(message: bytes, source: bytes, target: bytes) -> bytes:
    total = checksum(message)
    return _packet(ICMP, source, target, message[:2] + total.to_bytes(2, "big") + message[4:])


def _packet(protocol: int, source: bytes, target: bytes, body: bytes) -> bytes:
    """A whole packet; the kernel fills in identification and checksum (raw(7), IP_HDRINCL)."""
    return _IP.pack(0x45, 0, 20 + len(body), 0, 0, _TTL, protocol, 0, source, target) + body


def _sum(source: bytes, target: bytes, protocol: int, body: bytes) -> bytes:
    pseudo = source + target + struct.pack("!BBH", 0, protocol, len(body))
    return checksum(pseudo + body).to_bytes(2, "big")
