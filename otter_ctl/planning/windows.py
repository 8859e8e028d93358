"""How long TCP itself holds a message back, by the sender's congestion control. Pure.

**Slow start** (cubic, reno and others that send a window at once). A window that is sent before the
path is full waits for its acknowledgement: `rtt + 8·1500 / r - 8·window / r`, r the slowest rate,
if that is more than nothing (Cardwell, Savage, Anderson: Modeling TCP latency, 2000; an initial
window of 10 segments, RFC 6928). After a pause Linux halves the window for each retransmission
timeout that has passed (RFC 2861, tcp_cwnd_restart in net/ipv4/tcp_output.c), and each message
makes it grow by what it sends: with h halvings between messages of N segments the window comes to
N / (2^h - 1).

**Pacing** (bbr). Packets leave in chunks of a millisecond's worth at 2.89 times the bandwidth that
was seen, and what is seen of a message that is shorter than the path is what it delivered in a
round trip: N / (rtt + T), T the time between its first and its last packet; but no less than ten
segments a round trip, with which it began. So T = (N - l - c/2) / P, with the pace
P = 2.86 · max(10 / rtt, N / (rtt + T)), c a chunk, l the last: a part of the round trip, however
fast the path is. The first chunk counts half: after a pause what follows it may leave in half the
time. (Cardwell et al.: BBR, 2016; bbr_high_gain, bbr_pacing_margin_percent,
bbr_init_pacing_rate_from_rtt and bbr_min_tso_segs in net/ipv4/tcp_bbr.c; the credit in
tcp_update_skb_after_send, net/ipv4/tcp_output.c.)
"""

from __future__ import annotations

import math
from dataclasses import dataclass

SEGMENT_BYTES = 1448
PACKET_BYTES = 1500
FIRST_WINDOW = 10
"""Segments."""
TIMEOUT_S = 0.2
"""Least retransmission timeout beyond the round trip (TCP_RTO_MIN)."""
PACED = frozenset({"bbr"})
"""Congestion controls that space packets out."""
GAIN = 2.887 * 0.99
"""While it looks for the bandwidth, less the margin that it keeps of it."""
CHUNK_S = 0.001
LEAST_CHUNK = 2
"""Segments."""
_HALVINGS = 30
_ROUNDS = 20


def slow_start_s(wire: float, rate_bps: float, rtt_s: float, every_s: float | None = None) -> float:
    """What a message waits for acknowledgements.

    Args:
        wire: Its bytes, with all headers.
        rate_bps: The slowest on its way.
        rtt_s: There and back; 0: it waits for none.
        every_s: How often one is sent; None: after a long pause.
    """
    if not rtt_s:
        return 0.0
    window = window_bytes(wire, rtt_s + 8 * wire / rate_bps, every_s)
    sent = waited = 0.0
    while sent + window < wire:
        stall = rtt_s + 8 * PACKET_BYTES / rate_bps - 8 * window / rate_bps
        if stall <= 0:
            break
        waited += stall
        sent += window
        window *= 2
    return waited


def window_bytes(wire: float, last_rtt_s: float, every_s: float | None) -> float:
    """The window at the beginning of a message, of those that are sent every so often.

    Args:
        wire: Bytes of a message.
        last_rtt_s: There and back as its end sees it, with all that queues before it.
        every_s: How often one is sent; None: after a long pause.
    """
    first = float(FIRST_WINDOW * SEGMENT_BYTES)
    if every_s is None:
        return first
    halvings = min(int(every_s / (TIMEOUT_S + last_rtt_s)), _HALVINGS)
    return math.inf if halvings == 0 else max(first, wire / (2**halvings - 1))


@dataclass(frozen=True, slots=True)
class Pacing:
    """How a message is spread by its sender.

    Attributes:
        spread_s: Between the first and the last of its packets.
        chunk: Packets that leave together.
        last: Those of the last chunk.
    """

    spread_s: float = 0.0
    chunk: int = 1
    last: int = 1

    def offset_s(self, number: int, count: int) -> float:
        """By how much the `number`-th packet from the end, of `count`, is before the last."""
        if not self.spread_s or number < self.last:
            return 0.0
        chunks = math.ceil((count - self.last) / self.chunk)
        return self.spread_s * (1 + (number - self.last) // self.chunk) / max(1, chunks)


def paced(wire: float, rtt_s: float, link_s: float = 0.0) -> Pacing:
    """What a sender that paces does to one message of many.

    Args:
        wire: Its bytes.
        rtt_s: There and back, the least that was seen lately.
        link_s: What the slowest link takes for it.
    """
    count = math.ceil(wire / PACKET_BYTES)
    if not rtt_s:
        return Pacing(0.0, count, count)
    chunk = last = count
    spread_s = 0.0
    for _ in range(_ROUNDS):  # the chunk follows from the rate, and the rate from the spread
        seen = count / (rtt_s + max(spread_s, link_s))
        pace = GAIN * max(FIRST_WINDOW / rtt_s, seen)  # it never falls below what it began with
        chunk = int(min(count, max(LEAST_CHUNK, CHUNK_S * pace)))
        last = count - (math.ceil(count / chunk) - 1) * chunk
        spread_s = max(0.0, count - last - chunk / 2) / pace
    return Pacing(spread_s, chunk, last)
