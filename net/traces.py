"""Reads records of messages, whoever wrote them: lines that name an id, and what a line says.

`net.records` writes them. A module can write what it likes into that file, so nothing here believes
it: lines are bounded, and one that makes no sense is no record. Must not know: whose file it is.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import BinaryIO

COLUMNS = (
    "id", "reply_to", "stream", "from", "to", "made", "queued", "sent", "received", "taken",
    "done", "bytes", "outcome", "clock_error_s",
)  # fmt: skip
MAX_RECORDS_BYTES = 64 * 2**20
"""Of a module: then its records end. Some 300,000 messages."""
MAX_LINE_BYTES = 16 * 1024
_BLOCK_BYTES = 1 << 20
_LATEST = 2.0**33
"""Seconds since 1970, the year 2242: what is later no calendar has to know."""
OUTCOMES = ("done", "dropped", "expired", "failed")
TIMES = ("made", "queued", "sent", "received", "taken", "done")


@dataclass(frozen=True, slots=True)
class Record:
    """One line: what became of one message on one stream.

    Attributes:
        times: Of made, queued, sent, received, taken and done those that came to be, seconds since
            1970.
        clock_error_s: How far the clocks of the two ends may be apart.
    """

    id: str
    reply_to: str
    stream: str
    source: str
    target: str
    times: dict[str, float]
    nbytes: int
    outcome: str
    clock_error_s: float


def lines_naming(file: BinaryIO, ids: Collection[str]) -> Iterator[bytes]:
    """Lines that hold one of the ids, maybe as a part of another; without the line's end."""
    wanted = [one.encode() for one in ids if one]
    rest, left = b"", MAX_RECORDS_BYTES  # whoever writes may be quicker than we read
    while left > 0 and (block := file.read(_BLOCK_BYTES)):
        left -= len(block)
        block = rest + block
        whole = block.rfind(b"\n") + 1
        rest = block[whole:]
        if any(one in block for one in wanted):
            yield from _naming(block[:whole].splitlines(), wanted)
        if len(rest) > MAX_LINE_BYTES:
            rest = b"\0"  # no line of a record's; what is left of it makes no sense either
    yield from _naming([rest], wanted)


def _naming(lines: list[bytes], wanted: list[bytes]) -> Iterator[bytes]:
    for line in lines:
        if len(line) <= MAX_LINE_BYTES and any(one in line for one in wanted):
            yield line


def parse(line: str) -> Record | None:
    """What a line says; None if it makes no sense."""
    try:
        (cells,) = csv.reader([line], strict=True)
        fields = dict(zip(COLUMNS, cells, strict=True))
        times = {name: float(fields[name]) for name in TIMES if fields[name]}
        error_s, nbytes = float(fields["clock_error_s"]), int(fields["bytes"])
    except (ValueError, csv.Error):
        return None
    sane = all(0 <= time < _LATEST for time in times.values())  # nan is neither
    sane = sane and math.isfinite(error_s) and 0 <= nbytes < 1 << 63
    if not sane or not fields["id"] or fields["outcome"] not in OUTCOMES:
        return None
    return Record(
        fields["id"], fields["reply_to"], fields["stream"], fields["from"], fields["to"],
        times, nbytes, fields["outcome"], error_s,
    )  # fmt: skip
