"""Classic BPF filters: which packets a socket is woken for. Source: socket(7), linux/filter.h."""

from __future__ import annotations

import ctypes
import socket
import struct

_SO_ATTACH_FILTER = 26
_LOAD_BYTE, _LOAD_HALF, _LOAD_WORD, _LOAD_INDEXED, _HEADER_LENGTH = 0x30, 0x28, 0x20, 0x50, 0xB1
_LOAD_INDEXED_HALF, _LOAD_INDEXED_WORD = 0x48, 0x40
_IF_EQUAL, _IF_SET, _AND, _TAKE = 0x15, 0x45, 0x54, 0x06
_PACKET_TYPE = 0xFFFFF004  # SKF_AD_OFF + SKF_AD_PKTTYPE
_OUTGOING = 4
_TCP, _SYN, _SYN_OR_ACK = 6, 0x02, 0x12

SYNS = (
    # (code, jump if true, jump if false, value); jumps count instructions from the next one.
    (_LOAD_WORD, 0, 0, _PACKET_TYPE),
    (_IF_EQUAL, 9, 0, _OUTGOING),
    (_LOAD_BYTE, 0, 0, 9),
    (_IF_EQUAL, 0, 7, _TCP),
    (_LOAD_HALF, 0, 0, 6),
    (_IF_SET, 5, 0, 0x1FFF),  # not a packet's first fragment
    (_HEADER_LENGTH, 0, 0, 0),
    (_LOAD_INDEXED, 0, 0, 13),
    (_AND, 0, 0, _SYN_OR_ACK),
    (_IF_EQUAL, 0, 1, _SYN),
    (_TAKE, 0, 0, 0xFFFF),
    (_TAKE, 0, 0, 0),
)
"""Arriving IPv4 packets that ask for a TCP connection, read from their IP header on."""


def datagrams(port: int, word: int) -> tuple[tuple[int, int, int, int], ...]:
    """UDP over IPv4 to a port, whose first four bytes are `word`; read from the IP header on."""
    return (
        (_HEADER_LENGTH, 0, 0, 0),
        (_LOAD_INDEXED_HALF, 0, 0, 2),
        (_IF_EQUAL, 0, 3, port),
        (_LOAD_INDEXED_WORD, 0, 0, 8),
        (_IF_EQUAL, 0, 1, word),
        (_TAKE, 0, 0, 0xFFFF),
        (_TAKE, 0, 0, 0),
    )


def attach(made: socket.socket, program: tuple[tuple[int, int, int, int], ...]) -> None:
    """Let a socket hear only what `program` takes."""
    code = b"".join(struct.pack("=HBBI", *step) for step in program)
    text = ctypes.create_string_buffer(code, len(code))
    made.setsockopt(
        socket.SOL_SOCKET,
        _SO_ATTACH_FILTER,
        struct.pack("@HP", len(program), ctypes.addressof(text)),
    )
