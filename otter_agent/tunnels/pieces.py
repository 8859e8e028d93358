"""Packets as a TUN device has them <-> bodies of datagrams. Pure.

A TCP connection hands a device up to 64 KiB at once, one IP packet that is yet to be cut: its
`virtio_net_hdr` says into which pieces. Here each piece becomes the body of a datagram that stands
for itself, the headers of the whole and its own content:

    whole      IP TCP | content ............................
    datagrams  IP TCP | content 0,  IP TCP | content 1, …

so as much is sent, and as little lost, as if the kernel had cut it. Where pieces come in one after
the other, they are handed on as one packet that is yet to be cut, again.

Source: linux/virtio_net.h; net/ipv4/tcp_offload.c for what becomes of sequence numbers and flags.
Must not know: keys, sockets, devices.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from otter_agent.tunnels.datagrams import (
    LAST,
    MARKS,
    PART,
    UNSUMMED,
    Part,
    pack_about,
)

HEADER_BYTES = 10
PLAIN = bytes(HEADER_BYTES)
_HEADER = struct.Struct("=BBHHHH")  # flags, gso_type, hdr_len, gso_size, csum_start, csum_offset
_NEEDS_CSUM = 1
_TCPV4, _ECN = 1, 0x80
_TCP, _UDP = 6, 17
_SUM_AT = {_TCP: 16, _UDP: 6}
_FIN, _PSH, _CWR = 0x01, 0x08, 0x80
_LONGEST = 65_535
_WORD = struct.Struct("!H")
_LONG = struct.Struct("!I")
_PLAIN_ABOUT = pack_about()
_UNSUMMED_ABOUT = pack_about(UNSUMMED)

Body = tuple[Part, ...]


class Piece(NamedTuple):
    """One that came in.

    Attributes:
        serial: Of its datagram.
        flags: Likewise.
        offset: Where in the whole its content stands.
        body: Of its datagram.
    """

    serial: int
    flags: int
    offset: int
    body: memoryview


_NONE = Piece(0, 0, 0, memoryview(b""))


def apart(packet: memoryview) -> Iterator[tuple[bytes, Body]]:
    """What is to be sent of what a device gave, its `virtio_net_hdr` first: `about`, and the body.

    What no tunnel carries (it is no IPv4) gives nothing.
    """
    flags, kind, _, size, _, _ = _HEADER.unpack_from(packet)
    whole = packet[HEADER_BYTES:]
    if len(whole) < 20 or whole[0] >> 4 != 4:
        return
    if kind & ~_ECN != _TCPV4:
        if not kind:
            yield _UNSUMMED_ABOUT if flags & _NEEDS_CSUM else _PLAIN_ABOUT, (whole,)
        return
    length = _head_bytes(whole)
    if not length or not size:
        return
    head, content = bytes(whole[:length]), len(whole) - length
    flags = PART | (MARKS if kind & _ECN else 0)
    for offset in range(0, max(1, content), size):
        last = LAST if offset + size >= content else 0
        start = length + offset
        yield pack_about(flags | last, offset), (head, whole[start : start + size])


def together(pieces: Iterable[Piece]) -> Iterator[list[Part]]:
    """What is to be handed to a device of what came in: pieces in a row as one packet.

    A row goes on with the next piece of the same whole, all as long as the first but for the last.
    What makes no sense is left out.
    """
    row: list[Part] = []
    first, length, size, last, serial, offset = _NONE, 0, 0, 0, 0, 0
    for piece in pieces:
        now, flags, at, body = piece
        if row:
            long = len(body)
            if (
                now == serial
                and at == offset
                and flags & PART
                and (long == size or (length < long < size and flags & LAST))
                and at + long <= _LONGEST
                and not last & LAST
            ):
                row.append(body[length:])
                last, serial, offset = flags, serial + 1, offset + long - length
                continue
            yield _made(first, row, length, last)
            row = []
        if len(body) < 20 or body[0] >> 4 != 4:
            continue
        if flags & PART:
            length = _head_bytes(body)
            if length:
                row, size, first, last = [body[length:]], len(body), piece, flags
                serial, offset = now + 1, at + size - length
        elif (single := _single(piece)) is not None:
            yield single
    if row:
        yield _made(first, row, length, last)


def _made(first: Piece, contents: list[Part], length: int, last: int) -> list[Part]:
    """One packet of pieces in a row; `last`: flags of the last of them."""
    size = len(contents[0])
    head = _head_of(first, last, length, length + sum(map(len, contents)))
    kind = 0 if not contents[1:] else _TCPV4 | (_ECN if first.flags & MARKS else 0)
    start = (head[0] & 0xF) * 4
    virtual = _HEADER.pack(_NEEDS_CSUM, kind, length, size if kind else 0, start, _SUM_AT[_TCP])
    return [virtual, head, *contents]


def _single(piece: Piece) -> list[Part] | None:
    """A packet of its own."""
    body = piece.body
    if not piece.flags & UNSUMMED:
        return [PLAIN, body]
    start, where = (body[0] & 0xF) * 4, _SUM_AT.get(body[9])
    if where is None or len(body) < start + where + 2:
        return None
    return [_HEADER.pack(_NEEDS_CSUM, 0, 0, 0, start, where), body]


def _head_bytes(packet: memoryview) -> int:
    """Of IPv4 and TCP; 0: they aren't whole, or it is something else."""
    inner = (packet[0] & 0xF) * 4
    if inner < 20 or packet[9] != _TCP or len(packet) < inner + 20:
        return 0
    length = inner + (packet[inner + 12] >> 4) * 4
    return length if inner + 20 <= length <= len(packet) else 0


def _head_of(first: Piece, last: int, length: int, total: int) -> bytes:
    """The headers of the whole as those of some of its pieces; `last`: flags of the last one."""
    made = bytearray(first.body[:length])
    inner = (made[0] & 0xF) * 4
    _WORD.pack_into(made, 2, total)
    size = max(1, len(first.body) - length)
    _WORD.pack_into(made, 4, _WORD.unpack_from(made, 4)[0] + first.offset // size & 0xFFFF)
    _WORD.pack_into(made, 10, 0)
    _WORD.pack_into(made, 10, ~_sum(made[:inner]) & 0xFFFF)
    sequence = _LONG.unpack_from(made, inner + 4)[0] + first.offset & 0xFFFFFFFF
    _LONG.pack_into(made, inner + 4, sequence)
    if not last & LAST:
        made[inner + 13] &= ~(_FIN | _PSH) & 0xFF
    if first.offset:
        made[inner + 13] &= ~_CWR & 0xFF
    # The kernel fills the rest in: this is the sum of the pseudo header (RFC 9293, 3.1).
    pseudo = bytes(made[12:20]) + struct.pack("!HH", _TCP, total - inner)
    _WORD.pack_into(made, inner + 16, _sum(pseudo))
    return bytes(made)


def _sum(data: bytes | bytearray) -> int:
    """The ones' complement sum of 16-bit words (RFC 1071)."""
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    total = (total >> 16) + (total & 0xFFFF)
    return (total >> 16) + (total & 0xFFFF)
