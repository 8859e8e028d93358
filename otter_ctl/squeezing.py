"""What is sent to another machine is compressed where that is worth it: ways to them may be slow.

Text of modules, topologies and build contexts is a quarter of itself; weights, wheels and pictures
aren't smaller, and are left. Pure.
"""

from __future__ import annotations

import zlib

LEAST_BYTES = 2000
"""Less fits into two packets anyway."""
_SAMPLE_BYTES = 1 << 15
_WORTH = 0.9
"""Of itself: what stays larger than that isn't worth the time."""
_LEVEL = 1
"""100 MB/s; more would bring a tenth, and hold up fast ways."""
_GZIP_BITS = 31


def shrunk(content: bytes) -> bytes | None:
    """The same as gzip has it; None: it would hardly be smaller, by samples of it."""
    if len(content) < LEAST_BYTES:
        return None
    starts = sorted({0, len(content) // 2, max(0, len(content) - _SAMPLE_BYTES)})
    samples = [content[start : start + _SAMPLE_BYTES] for start in starts]
    if sum(map(len, map(_packed, samples))) > _WORTH * sum(map(len, samples)):
        return None
    return _packed(content)


def _packed(content: bytes) -> bytes:
    packer = zlib.compressobj(_LEVEL, zlib.DEFLATED, _GZIP_BITS)
    return packer.compress(content) + packer.flush()
