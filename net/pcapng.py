"""Packets as a pcapng file: what Wireshark reads. Pure.

    section header │ interface │ interface │ packet … packet │ statistics │ packet …

Each block begins and ends with its length, so a file that was cut off after any block is whole.
A writer of one's own: the libraries of PyPI that write pcapng (dpkt, python-pcapng, scapy) either
know no nanoseconds and no interface names, or weigh more than these lines, or rest since 2022.
Source: draft-ietf-opsawg-pcapng, sections 4.1 to 4.6; link types: tcpdump.org/linktypes.html.
"""

from __future__ import annotations

import struct

ETHERNET = 1
RAW_IP = 101
NO_LENGTH = -1

_SECTION, _INTERFACE, _STATISTICS, _PACKET = 0x0A0D0D0A, 1, 5, 6
_BYTE_ORDER = 0x1A2B3C4D
_APPLICATION, _NAME, _DESCRIPTION, _RESOLUTION, _DROPPED = 4, 2, 3, 9, 5
_NANOSECONDS = b"\x09"
_HEAD = struct.Struct("<II")
_PACKET_HEAD = struct.Struct("<IIIIIII")
_LENGTH = struct.Struct("<I")
_LEAST = 12
LONGEST_BLOCK = 1 << 20


def section(application: str) -> bytes:
    """The first block of a file."""
    body = struct.pack("<IHHq", _BYTE_ORDER, 1, 0, NO_LENGTH)
    return _block(_SECTION, body + _options((_APPLICATION, application.encode())))


def interface(link_type: int, snap_bytes: int, name: str, description: str) -> bytes:
    """Where packets were seen; the first is number 0. Times are in nanoseconds since 1970."""
    options = _options(
        (_NAME, name.encode()), (_DESCRIPTION, description.encode()), (_RESOLUTION, _NANOSECONDS)
    )
    return _block(_INTERFACE, struct.pack("<HHI", link_type, 0, snap_bytes) + options)


def packet(interface_id: int, time_ns: int, data: bytes, whole_bytes: int) -> bytes:
    """A packet, or the start of one that had `whole_bytes`."""
    padding = b"\0" * (-len(data) % 4)
    length = _PACKET_HEAD.size + len(data) + len(padding) + _LENGTH.size
    head = _PACKET_HEAD.pack(
        _PACKET, length, interface_id, time_ns >> 32, time_ns & 0xFFFFFFFF, len(data), whole_bytes
    )
    return b"".join((head, data, padding, _LENGTH.pack(length)))


def statistics(interface_id: int, time_ns: int, dropped: int) -> bytes:
    """How many packets of an interface could not be kept so far."""
    body = struct.pack("<III", interface_id, time_ns >> 32, time_ns & 0xFFFFFFFF)
    return _block(_STATISTICS, body + _options((_DROPPED, struct.pack("<Q", dropped))))


def whole_blocks(data: bytes | bytearray) -> tuple[int, int, dict[int, int]]:
    """How many bytes at the start are whole blocks, the packets in these, and those dropped.

    The last are those of all time, by interface, of interfaces of which these blocks tell.

    Raises:
        ValueError: It isn't what the functions above make.
    """
    at = packets = 0
    dropped: dict[int, int] = {}
    while len(data) - at >= _HEAD.size:
        kind, length = _HEAD.unpack_from(data, at)
        if not _LEAST <= length <= LONGEST_BLOCK or length % 4:
            raise ValueError(f"a block of {length} bytes")
        if len(data) - at < length:
            break
        packets += kind == _PACKET
        if kind == _STATISTICS:
            dropped[struct.unpack_from("<I", data, at + 8)[0]] = _told(data, at)
        at += length
    return at, packets, dropped


def _told(data: bytes | bytearray, at: int) -> int:
    """Of the only option of a block of statistics."""
    return int(struct.unpack_from("<Q", data, at + 24)[0]) if len(data) >= at + 32 else 0


def _options(*options: tuple[int, bytes]) -> bytes:
    made = [
        struct.pack("<HH", code, len(value)) + value + b"\0" * (-len(value) % 4)
        for code, value in options
    ]
    return b"".join(made) + b"\0\0\0\0"


def _block(kind: int, body: bytes) -> bytes:
    length = len(body) + _LEAST
    return _HEAD.pack(kind, length) + body + _LENGTH.pack(length)
