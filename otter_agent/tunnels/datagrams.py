"""What is in a datagram between two machines. Pure.

     0        8       9         12        18       22
     | tag    | kind  | number  | serial  | about  | body …

Kind 1 carries (a part of) a packet, kind 2 greets. `number` is the link's, of both machines;
`serial` rises by one with each datagram of a sender; `tag` is a keyed hash of all the rest: who
hasn't the key makes none, and who repeats one is known by its serial. It is no encryption.

With the headers of IPv4 and UDP that is 50 bytes a packet, as much as VXLAN adds.
"""

from __future__ import annotations

import hashlib
import hmac
import struct
from collections.abc import Sequence
from typing import NamedTuple, Protocol

PACKET, GREETING = 1, 2
HEAD_BYTES = 22
TAG_BYTES = 8
KEY_BYTES = 16
WORDS = struct.Struct("!IIH")
"""Kind and number, serial."""
PACKET_HEAD = struct.Struct("!8sIIHBxH")
"""All of a packet's, as numbers."""
_ABOUT = struct.Struct("!BxH")
_GREETING = struct.Struct("!BBxx16s16s")
NOBODY = bytes(16)

Part = bytes | memoryview


class Keyed(Protocol):
    """A hash that has taken the key in."""

    def copy(self) -> Keyed:
        """Another of the same state."""
        ...

    def update(self, data: Part, /) -> None:
        """Take in more."""
        ...

    def digest(self) -> bytes:
        """What came of it."""
        ...


UNSUMMED, PART, LAST, MARKS = 1, 2, 4, 8
"""Flags of a packet's datagram: the checksum of its TCP or UDP is yet to be filled in; it is a part
of what is yet to be cut into packets, the last one; only the first part may keep the sender's word
that it has slowed down (CWR)."""


class Greeting(NamedTuple):
    """What the ends of a tunnel tell each other, to agree on keys for as long as both live.

    Attributes:
        first: Whether it comes from the link's first end: what comes back to its sender is nothing.
        knows: Whether the sender has agreed with whom `other` names.
        own: Random; of the sender's life.
        other: The life that it heard of; none: `NOBODY`.
    """

    first: bool
    knows: bool
    own: bytes
    other: bytes


def keyed(key: bytes) -> Keyed:
    """A hash to be copied for each datagram."""
    made: Keyed = hashlib.blake2b(key=key, digest_size=TAG_BYTES)
    return made


def derived(key: bytes, *words: bytes) -> bytes:
    """A key for one purpose."""
    return hashlib.blake2b(b"\0".join(words), key=key, digest_size=KEY_BYTES).digest()


def kind_of(datagram: memoryview) -> tuple[int, int] | None:
    """Kind and number; None: it is too short."""
    if len(datagram) < HEAD_BYTES:
        return None
    return datagram[TAG_BYTES], int.from_bytes(datagram[TAG_BYTES + 1 : TAG_BYTES + 4], "big")


def serial_of(datagram: memoryview) -> int:
    """Of one that isn't too short."""
    _, high, low = WORDS.unpack_from(datagram, TAG_BYTES)
    return int(high << 16 | low)


def sealed(
    kind: int, number: int, serial: int, about: bytes, body: Sequence[Part], key: Keyed
) -> bytes:
    """The head of a datagram; its body is to follow."""
    words = WORDS.pack(kind << 24 | number, serial >> 16, serial & 0xFFFF) + about
    tag = key.copy()
    tag.update(words)
    for part in body:
        tag.update(part)
    return tag.digest() + words


def is_genuine(datagram: memoryview, key: Keyed) -> bool:
    """Whether who made it has the key."""
    tag = key.copy()
    tag.update(datagram[TAG_BYTES:])
    return hmac.compare_digest(tag.digest(), datagram[:TAG_BYTES])


def pack_about(flags: int = 0, offset: int = 0) -> bytes:
    """The same as bytes."""
    return _ABOUT.pack(flags, offset)


def greeting(datagram: Part) -> Greeting | None:
    """What a greeting says; None: nothing."""
    if len(datagram) != HEAD_BYTES + _GREETING.size:
        return None
    first, knows, own, other = _GREETING.unpack_from(datagram, HEAD_BYTES)
    return Greeting(bool(first), bool(knows), own, other)


def pack_greeting(what: Greeting, number: int, serial: int, key: Keyed) -> bytes:
    """A whole datagram."""
    body = _GREETING.pack(what.first, what.knows, what.own, what.other)
    return sealed(GREETING, number, serial, bytes(4), (body,), key) + body
