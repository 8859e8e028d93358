"""How long a link's queue is, and what RED does with it: the same for every driver. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from net.links.spec import LinkSpec

PACKET_BYTES = 1500
"""A full packet."""
LEAST_PACKETS = 10
"""What a queue that nobody asked for holds at least: a TCP connection's first ten segments come at
once (RFC 6928), and shall not be lost on a slow link."""
_DEFAULT_S = {"tail": 0.05, "red": 0.2, "codel": 0.5}
"""A queue that nobody asked for, as time at the link's rate. CoDel and RED keep theirs short
themselves, so their limit only bounds a burst."""
_RED_AVERAGE_BYTES = 1000
_RED_BITS = 31
"""Of the average queue with its weight: the kernel's RED keeps it in 32, and refuses more
(red_check_params() of include/net/red.h). The same for all drivers."""


@dataclass(frozen=True, slots=True)
class Limit:
    """What may wait, beside the packet that is being sent; None: no limit of that kind."""

    bytes: int | None = None
    packets: int | None = None


@dataclass(frozen=True, slots=True)
class Red:
    """Parameters of RED.

    Attributes:
        min_bytes: Average queue below which nothing is dropped.
        max_bytes: … from which on everything is.
        ratio: Share that is dropped just below `max_bytes`.
        weight_log2: A packet counts 2^-weight_log2 in the average.
        average_bytes: Typical packet, for the time that the queue is empty.
    """

    min_bytes: int
    max_bytes: int
    ratio: float
    weight_log2: int
    average_bytes: int = _RED_AVERAGE_BYTES


def limit(spec: LinkSpec) -> Limit:
    """The queue of a direction: what was asked for, or the default; none without a rate.

    Time is bytes at `rate_bps`, and one full packet at least: it's all of them or none.
    """
    if spec.rate_bps is None:
        return Limit()
    if spec.queue_packets is not None:
        return Limit(packets=spec.queue_packets)
    if spec.queue_bytes is not None:
        return Limit(bytes=spec.queue_bytes)
    if spec.queue_s is not None:
        return Limit(bytes=max(PACKET_BYTES, round(spec.queue_s * spec.rate_bps / 8)))
    longest_s = _DEFAULT_S[spec.queue_discipline or "tail"]
    least = LEAST_PACKETS * PACKET_BYTES
    return Limit(bytes=max(least, round(longest_s * spec.rate_bps / 8)))


def red(spec: LinkSpec, most_bytes: int | None = None) -> Red:
    """RED's parameters: it drops between a twelfth and a quarter of the queue's limit.

    Where that is over 2 MB its average follows quicker than it would by the source.

    Args:
        spec: What is asked.
        most_bytes: Longer than that no queue is, whatever is asked.

    Source: S. Floyd, V. Jacobson, "Random Early Detection Gateways for Congestion Avoidance", 1993
    (max at least twice min, at most a tenth dropped); tc-red(8) and tc_red_eval_ewma() of iproute2
    for the weight: the average follows a burst of (2 min + max) / 3.
    """
    found = limit(spec)
    whole = found.bytes if found.bytes is not None else (found.packets or 0) * PACKET_BYTES
    whole = whole if most_bytes is None else min(whole, most_bytes)
    least = max(PACKET_BYTES, whole // 12)
    most = max(2 * least, whole // 4)
    burst = max(1.0, (2 * least + most) / (3 * _RED_AVERAGE_BYTES))
    slowest = max(1, _RED_BITS - most.bit_length())
    return Red(least, most, 0.1, min(slowest, _weight_log2(burst, least / _RED_AVERAGE_BYTES)))


def _weight_log2(burst: float, least_packets: float) -> int:
    for power in range(1, 32):
        weight = 0.5**power
        if burst + 1 - least_packets < (1 - (1 - weight) ** burst) / weight:
            return power
    return 31
