"""Times and sizes of the packets of a capture file, pcap or pcapng. Pure.

Only what a replay needs, not what is in the packets; a file that was cut off is read as far as it
is whole. Sources: pcap-savefile(5) of libpcap; draft-ietf-opsawg-pcapng.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

_PCAP = {b"\xa1\xb2\xc3\xd4": (">", 1e-6), b"\xd4\xc3\xb2\xa1": ("<", 1e-6),
         b"\xa1\xb2\x3c\x4d": (">", 1e-9), b"\x4d\x3c\xb2\xa1": ("<", 1e-9)}  # fmt: skip
"""First bytes -> byte order, and seconds per unit of a time's fraction."""
_PCAP_HEAD_BYTES, _PCAP_LINK_TYPE_AT = 24, 20
_SECTION = b"\x0a\x0d\x0d\x0a"
_ORDERS = {b"\x1a\x2b\x3c\x4d": ">", b"\x4d\x3c\x2b\x1a": "<"}
_INTERFACE, _PACKET, _RESOLUTION = 1, 6, 9
_LINK_HEADERS = {1: 14, 101: 0, 228: 0, 12: 0, 113: 16, 276: 20}
"""Bytes before the IP header by link type: Ethernet, raw IP, cooked. tcpdump.org/linktypes.html."""
MOST_PACKETS = 5_000_000


def packets(data: bytes) -> list[tuple[float, int]]:
    """(seconds since the first packet, bytes of IP) of each packet, by time.

    Raises:
        ValueError: It is neither pcap nor pcapng, or holds no packets.
    """
    if data[:4] in _PCAP:
        found = list(_pcap(data))
    elif data[:4] == _SECTION:
        found = list(_pcapng(data))
    else:
        raise ValueError("neither pcap nor pcapng")
    if not found:
        raise ValueError("it holds no packets")
    if len(found) > MOST_PACKETS:
        raise ValueError(f"over {MOST_PACKETS:,} packets")
    found.sort()
    first = found[0][0]
    return [(at - first, size) for at, size in found]


def _pcap(data: bytes) -> Iterator[tuple[float, int]]:
    order, unit = _PCAP[data[:4]]
    head = struct.Struct(f"{order}IIII")
    if len(data) < _PCAP_HEAD_BYTES:
        return
    link = struct.unpack_from(f"{order}I", data, _PCAP_LINK_TYPE_AT)[0] & 0xFFFF
    at = _PCAP_HEAD_BYTES
    while at + head.size <= len(data):
        seconds, fraction, kept, whole = head.unpack_from(data, at)
        at += head.size + kept
        if at > len(data):
            return
        yield seconds + fraction * unit, _ip_bytes(whole, link)


def _pcapng(data: bytes) -> Iterator[tuple[float, int]]:
    order, at = "<", 0
    interfaces: list[tuple[int, float]] = []
    while at + 12 <= len(data):
        if data[at : at + 4] == _SECTION:
            order = _ORDERS.get(data[at + 8 : at + 12], "")
            if not order:
                raise ValueError("a section of unknown byte order")
            interfaces = []
        kind, length = struct.unpack_from(f"{order}II", data, at)
        if length < 12 or length % 4:
            raise ValueError(f"a block of {length} bytes")
        if at + length > len(data):
            return
        body = data[at + 8 : at + length - 4]
        at += length
        if kind == _INTERFACE and len(body) >= 8:
            interfaces.append((struct.unpack_from(f"{order}H", body)[0], _unit(body[8:], order)))
        elif kind == _PACKET and len(body) >= 20:
            number, high, low, _, whole = struct.unpack_from(f"{order}IIIII", body)
            if number < len(interfaces):
                link, unit = interfaces[number]
                yield (high << 32 | low) * unit, _ip_bytes(whole, link)


def _unit(options: bytes, order: str) -> float:
    """Seconds per unit of an interface's times: if_tsresol, microseconds without it."""
    at = 0
    while at + 4 <= len(options):
        code, length = struct.unpack_from(f"{order}HH", options, at)
        if code == 0:
            break
        if code == _RESOLUTION and length == 1 and at + 4 < len(options):
            exponent = options[at + 4]
            return 2.0 ** -(exponent & 0x7F) if exponent & 0x80 else 10.0**-exponent
        at += 4 + length + (-length % 4)
    return 1e-6


def _ip_bytes(whole: int, link: int) -> int:
    return max(0, whole - _LINK_HEADERS.get(link, 0))
