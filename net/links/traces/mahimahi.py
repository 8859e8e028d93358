"""Packet-delivery traces: a line per delivery opportunity, in ms since the start, as mahimahi's.

At each a packet of 1500 bytes may leave; two lines with one number: two packets. The last line is
also the trace's length, after which it begins again. Source: mm-link(1), mahimahi 0.98.

A driver that lets packets go one by one (tun) takes the opportunities; for the others they become
a rate, counted in bins: `rate = opportunities · 1500 B / bin`. A bin without an opportunity is
joined with those that follow until one has some: the rate never is 0, and what is delivered stays
the same.
"""

from __future__ import annotations

import math
from array import array

from net.links.traces.lines import MAX_LENGTH_S, Lines, short
from net.links.traces.trace import MAX_POINTS, MTU_BYTES, Trace

BIN_S = 0.1
"""Short against what a link's queue holds, long against the gaps of a link of 1 Mbit/s (12 ms)."""
_HINT = "each line is a whole number of milliseconds, never less than the one before"


def read(lines: Lines, bin_s: float = BIN_S) -> Trace:
    """The trace of a file.

    Raises:
        TraceFileError: It isn't one.
    """
    opportunities = array("d")
    before = 0
    for text in lines:
        if not (text.isascii() and text.isdigit()) or len(text) > 15:
            raise lines.error(f"{short(text)} is not a time in ms", _HINT)
        moment = int(text)
        if moment < before:
            raise lines.error(f"{moment} ms comes after {before} ms", _HINT)
        if moment > MAX_LENGTH_S * 1000:
            raise lines.error(f"{moment} ms is over three years", _HINT)
        if len(opportunities) >= MAX_POINTS:
            hint = "cut it: it loops"
            raise lines.error(f"has more than {MAX_POINTS:,} opportunities", hint)
        before = moment
        opportunities.append(moment / 1000)
    if not opportunities:
        raise lines.error("is empty: it has no delivery opportunity", _HINT, line=0)
    if not before:
        raise lines.error("ends at 0 ms: a trace needs a length", _HINT)
    return binned(opportunities, before / 1000, bin_s)


def binned(opportunities: array[float], length_s: float, bin_s: float = BIN_S) -> Trace:
    """The same as rates in bins, opportunities kept.

    Args:
        opportunities: In order, from 0 to `length_s`; at least one.
        length_s: Of the trace; what stands at its very end belongs to its last bin.
        bin_s: Of one bin; the last one may be shorter.
    """
    bins = max(1, math.ceil(round(length_s / bin_s, 9)))
    counts: dict[int, int] = {}
    for moment in opportunities:
        # What stands on a border belongs to the bin before it, as the last line to the last bin.
        place = min(bins - 1, max(0, math.ceil(round(moment / bin_s, 9)) - 1))
        counts[place] = counts.get(place, 0) + 1
    times, rates = array("d"), array("d")
    start = 0
    for place in sorted(counts):
        last = place == max(counts)
        end_s = length_s if last else (place + 1) * bin_s
        times.append(start * bin_s)
        rates.append(counts[place] * MTU_BYTES * 8 / (end_s - start * bin_s))
        start = place + 1
    return Trace(times, {"rate_bps": rates}, length_s, opportunities)
