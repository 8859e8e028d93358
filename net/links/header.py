"""The few bits of an IP header that a link may change. Pure.

Source: RFC 791, RFC 8200; RFC 3168 (ECN); RFC 1624 (updating the checksum).
"""

from __future__ import annotations

_CE = 3


def marked(packet: bytes, start: int = 0) -> bytes | None:
    """A packet with "congestion experienced" in its header; None: its sender knows no ECN.

    Args:
        packet: With its IP header at `start`.
        start: Where.
    """
    if len(packet) < start + 20:
        return None
    version = packet[start] >> 4
    if version == 4:
        old = packet[start + 1]
    elif version == 6:
        old = packet[start + 1] >> 4
    else:
        return None
    if not old & _CE:
        return None
    if old & _CE == _CE:
        return packet
    changed = bytearray(packet)
    if version == 6:
        changed[start + 1] |= _CE << 4
        return bytes(changed)
    changed[start + 1] |= _CE
    before = packet[start] << 8 | old
    after = packet[start] << 8 | changed[start + 1]
    total = (~_word(packet, start + 10) & 0xFFFF) + (~before & 0xFFFF) + after
    total = (total & 0xFFFF) + (total >> 16)
    total = (total & 0xFFFF) + (total >> 16)
    changed[start + 10 : start + 12] = (~total & 0xFFFF).to_bytes(2, "big")
    return bytes(changed)


def with_wrong_bit(packet: bytes, draw: float, start: int = 0) -> bytes:
    """A packet with one bit turned over, `draw` (0 <= draw < 1) of the way through it."""
    bits = (len(packet) - start) * 8
    if bits <= 0:
        return packet
    place = int(draw * bits)
    changed = bytearray(packet)
    changed[start + (place >> 3)] ^= 1 << (place & 7)
    return bytes(changed)


def _word(packet: bytes, at: int) -> int:
    return packet[at] << 8 | packet[at + 1]
