"""Fragments <-> bytes: how a message lies in datagrams. Pure; docs/datagrams.md has the tables.

    message    |-- size --|-- size --|-- … --|- rest -|        `count` fragments of `size` bytes
    datagram   | header, 48 bytes | one of them, or parity |

Fragment i belongs to block i % blocks, so that a burst of losses is spread over all blocks; each
block has `parity` fragments of its own: index count + j * blocks + b is the j-th of block b.
Must not know: asyncio, sockets, the clock, what messages hold.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from net.errors import RemoteWireError

MAGIC = b"OD"
VERSION = 2
IP_UDP_BYTES = 28
"""Of an IPv4 packet without options: 20 + 8."""
MAX_DATAGRAM = 65507
"""Most that UDP over IPv4 carries."""

FRAGMENT, HELLO, ACCEPT, REFUSE, REPORT, PROBE, END, ENDED, GONE, CHALLENGE = range(1, 11)
"""Kinds of datagrams."""
RETRANSMITTED = 1
"""Flag of a fragment."""

PREFIX = struct.Struct("!2sBBQ")
"""Magic, version, kind, session: how every datagram begins."""
HEADER = struct.Struct("!2sBBQQQIIHHBBHI")
"""… packet number, message, sent µs, length, size, blocks, parity, flags, RTT in 0.1 ms, index."""
HEADER_BYTES = HEADER.size
_GRAIN = 16
"""Sizes are multiples of it: parity is computed on words, and rows stay aligned."""
MIN_SIZE = 256
MAX_BLOCK = 255
"""Most fragments of one block, parity included: the elements of GF(256) but one."""
BLOCK_DATA = 100
"""Fragments of one block that the sender aims at: longer ones are mended better, at more work."""


def size_for(mtu_bytes: int) -> int:
    """Bytes of a message that one datagram carries on a path."""
    datagram = min(mtu_bytes - IP_UDP_BYTES, MAX_DATAGRAM)
    return (datagram - HEADER_BYTES) // _GRAIN * _GRAIN


@dataclass(frozen=True, slots=True)
class Shape:
    """How one message is cut; every fragment of it says the same.

    Attributes:
        length: Bytes of the message.
        size: Bytes of each fragment but the last.
        blocks: Blocks with parity of their own.
        parity: Parity fragments of each.
        count: Fragments, without parity.
        total: Fragments, with parity.
    """

    length: int
    size: int
    blocks: int
    parity: int
    count: int
    total: int

    def bytes_of(self, index: int) -> int:
        """Bytes that a fragment carries; parity carries a whole `size`."""
        if index == self.count - 1:
            return self.length - index * self.size
        return self.size

    def block_count(self, block: int) -> int:
        """Fragments of one block, without parity."""
        return (self.count - block + self.blocks - 1) // self.blocks


def shape_of(length: int, size: int, fec_ratio: float) -> Shape:
    """How the sender cuts a message."""
    count = max(1, -(-length // size))
    blocks = min(-(-count // BLOCK_DATA), 65535) if fec_ratio else 1
    parity = min(int(count / blocks * fec_ratio), MAX_BLOCK - -(-count // blocks))
    if parity < 1:
        blocks, parity = 1, 0
    return Shape(length, size, blocks, parity, count, count + blocks * parity)


def read_shape(length: int, size: int, blocks: int, parity: int) -> Shape:
    """What a peer says of its message, checked.

    Raises:
        RemoteWireError: It makes no sense.
    """
    possible = MIN_SIZE <= size <= MAX_DATAGRAM - HEADER_BYTES and size % _GRAIN == 0
    if not possible or not length or not blocks:
        raise RemoteWireError(f"fragments of {size} bytes in {blocks} blocks of {length} bytes")
    count = -(-length // size)
    if blocks > count or (parity and -(-count // blocks) + parity > MAX_BLOCK):
        raise RemoteWireError(f"{count} fragments in {blocks} blocks with {parity} of parity")
    if (not parity and blocks != 1) or blocks * parity > count:
        raise RemoteWireError(f"{blocks} blocks with {parity} of parity for {count} fragments")
    return Shape(length, size, blocks, parity, count, count + blocks * parity)
