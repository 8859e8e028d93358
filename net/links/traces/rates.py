"""Text of two numbers a line: `seconds Mbit/s`. A rate of 0 is an outage: the link is down."""

from __future__ import annotations

from net.links.traces.lines import Lines, Points, number, short
from net.links.traces.trace import Trace

MOST_MBIT = 1e7


def read(lines: Lines) -> Trace:
    """The trace of a file.

    Raises:
        TraceFileError: It isn't one.
    """
    points = Points(lines, ("rate_bps", "up"))
    for text in lines:
        words = text.replace(",", " ").split()
        if len(words) != 2:
            hint = "each line is a time in seconds and a rate in Mbit/s"
            raise lines.error(f"{short(text)} is not two numbers", hint)
        time = number(lines, words[0], "time")
        points.add(time, rate_values(number(lines, words[1], "rate", most=MOST_MBIT) * 1e6))
    return points.trace()


def rate_values(rate_bps: float) -> dict[str, float]:
    """A rate, or that there is none: a link of 0 bit/s carries nothing, it is down."""
    return {"rate_bps": rate_bps, "up": 1.0} if rate_bps > 0 else {"up": 0.0}
