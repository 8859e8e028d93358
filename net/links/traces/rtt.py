"""Series of round-trip times, as of Starlink (LENS): the delay is half of each, one way.

Lines are `seconds RTT`, the RTT in ms, or what `ping -D` prints (`[1690848006.12] 64 bytes from …
time=38.4 ms`), of which lines without a time (losses, summaries) are left out: there the delay
before goes on holding. Columns with a header are for table.py, as `rtt_ms`.
"""

from __future__ import annotations

import re

from net.links.traces.lines import Lines, Points, number, short
from net.links.traces.trace import Trace

_PING = re.compile(r"\[(\d+(?:\.\d+)?)\].*\btime=(\d+(?:\.\d+)?) ms")
MOST_MS = 7.2e6


def read(lines: Lines) -> Trace:
    """The trace of a file.

    Raises:
        TraceFileError: It isn't one.
    """
    points = Points(lines, ("delay_s",))
    for text in lines:
        if text.startswith(("PING", "---", "[")):
            said = _PING.match(text)
            if said is None:
                continue
            time, rtt = said.groups()
        else:
            words = text.replace(",", " ").split()
            if len(words) != 2:
                hint = "each line is a time in seconds and an RTT in ms, or a line of `ping -D`"
                raise lines.error(f"{short(text)} is not two numbers", hint)
            time, rtt = words
        rtt_ms = number(lines, rtt, "RTT", most=MOST_MS)
        points.add(number(lines, time, "time"), {"delay_s": rtt_ms / 2000})
    return points.trace()
