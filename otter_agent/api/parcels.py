"""How a layer travels: pieces of its tar, each as it is or compressed. Pure.

    piece   kind: u8   plain bytes: u32   bytes: u32   the bytes       (big-endian)
    end     255        0                  0            all has been sent; else the stream was cut

What a cut leaves is whole pieces, so a transfer goes on at the byte that it had come to.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator

PIECE_BYTES = 1 << 18
MAX_PIECE_BYTES = 1 << 20
"""What a receiver takes."""
_HEAD = struct.Struct("!BII")
_PLAIN, _DEFLATED, _END = 0, 1, 255
_FAST_BPS, _SLOW_BPS = 80e6, 10e6
"""Bytes a second of a way: above the first zlib can't keep up with it, below the second its best
effort can. Source: zlib on one core of 2020, level 1 90 MB/s, level 6 25 MB/s."""
_WORTH_RATIO = 0.95
_TRIED_AGAIN = 16
_KNOWN_BYTES = 4 << 20
"""So much goes into buffers before a way is felt."""


class ParcelError(Exception):
    """What came isn't what a sender sends."""


def pack(piece: bytes, level: int) -> bytes:
    """One piece, compressed if `level` isn't 0 and that makes it smaller."""
    small = zlib.compress(piece, level) if level else piece
    if len(small) < len(piece):
        return _HEAD.pack(_DEFLATED, len(piece), len(small)) + small
    return _HEAD.pack(_PLAIN, len(piece), len(piece)) + piece


END = _HEAD.pack(_END, 0, 0)


class Unpacker:
    """Bytes as they come -> pieces.

    Attributes:
        ended: All has been sent.
    """

    def __init__(self) -> None:
        self._rest = bytearray()
        self.ended = False

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Pieces that are whole by now. Raises `ParcelError`."""
        self._rest += data
        while len(self._rest) >= _HEAD.size:
            if self.ended:
                raise ParcelError("something follows its end")
            kind, plain, size = _HEAD.unpack_from(self._rest)
            if max(plain, size) > MAX_PIECE_BYTES:
                raise ParcelError(f"a piece of {max(plain, size)} bytes")
            end = _HEAD.size + size
            if len(self._rest) < end:
                return
            payload = bytes(self._rest[_HEAD.size : end])
            del self._rest[:end]
            if kind == _END:
                self.ended = True
                continue
            yield _plain(kind, payload, plain)


def _plain(kind: int, payload: bytes, size: int) -> bytes:
    if kind == _DEFLATED:
        inflating = zlib.decompressobj()
        try:
            payload = inflating.decompress(payload, size + 1)
        except zlib.error as error:
            raise ParcelError(f"a piece can't be decompressed ({error})") from error
    elif kind != _PLAIN:
        raise ParcelError(f"a piece of unknown kind {kind}")
    if len(payload) != size:
        raise ParcelError("a piece is of another size than it says")
    return payload


class Pace:
    """How hard to compress, by how fast the way takes what is sent, and whether that helps."""

    def __init__(self) -> None:
        self._in_vain = 0
        self._bytes = 0.0
        self._seconds = 0.0
        self._total = 0

    def pack(self, piece: bytes) -> bytes:
        """One piece, packed as it pays. What has not become smaller lately is tried now and then.

        Noise, and what is compressed already: weights, archives, pictures.
        """
        level = self.level
        if level and 0 < self._in_vain < _TRIED_AGAIN:
            self._in_vain += 1
            return pack(piece, 0)
        packed = pack(piece, level)
        helped = not level or len(packed) < len(piece) * _WORTH_RATIO
        self._in_vain = 0 if helped else 1
        return packed

    def sent(self, size: int, seconds: float) -> None:
        """So many bytes took so long to be let go of."""
        self._total += size
        if self._bytes > _KNOWN_BYTES:  # what was long ago counts less
            self._bytes, self._seconds = self._bytes / 2, self._seconds / 2
        self._bytes += size
        self._seconds += seconds

    @property
    def level(self) -> int:
        """Of zlib; 0: not at all."""
        if self._total < _KNOWN_BYTES:
            return 1
        rate = self._bytes / max(self._seconds, 1e-9)
        return 0 if rate > _FAST_BPS else 6 if rate < _SLOW_BPS else 1


class Meter:
    """Counts the plain bytes of pieces that pass, without looking into them."""

    def __init__(self) -> None:
        self._head = bytearray()
        self._payload = 0

    def feed(self, data: bytes) -> int:
        """How many plain bytes began with this."""
        plain, at = 0, 0
        while at < len(data):
            skipped = min(self._payload, len(data) - at)
            self._payload -= skipped
            at += skipped
            wanted = data[at : at + _HEAD.size - len(self._head)]
            self._head += wanted
            at += len(wanted)
            if len(self._head) == _HEAD.size:
                _, size, self._payload = _HEAD.unpack(self._head)
                plain += size
                self._head.clear()
        return plain
