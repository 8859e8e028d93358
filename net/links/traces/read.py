"""`read`: a trace file of any format -> `Trace`. Must not know: topologies."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal, get_args

from net.links.traces import mahimahi, rates, rtt, table
from net.links.traces.lines import Lines
from net.links.traces.trace import Trace

Format = Literal["mahimahi", "rate", "csv", "rtt"]
FORMATS: tuple[Format, ...] = get_args(Format)


def read(
    path: Path,
    format_: Format | None = None,
    *,
    columns: Mapping[str, str] | None = None,
    bin_s: float = mahimahi.BIN_S,
    name: str = "",
) -> Trace:
    """Read a trace file.

    Args:
        path: The file.
        format_: How it is written; None: see `guess`.
        columns: Of CSV: what headers are to be read as.
        bin_s: Of mahimahi: over how long opportunities are counted.
        name: What to call the file in errors.

    Raises:
        TraceFileError: It can't be read, with the line where that is so.
    """
    kind = format_ or guess(path, name)
    lines = Lines(path, name)
    if kind == "csv":
        return table.read(lines, columns)
    if kind == "mahimahi":
        return mahimahi.read(lines, bin_s)
    return rtt.read(lines) if kind == "rtt" else rates.read(lines)


def guess(path: Path, name: str = "") -> Format:
    """The format, by the first line: one number, two numbers, a ping, or a header.

    Two numbers are `seconds Mbit/s`; that they are RTTs has to be said.

    Raises:
        TraceFileError: It can't be read, or is empty.
    """
    lines = Lines(path, name)
    first = next(iter(lines), None)
    if first is None:
        raise lines.error("is empty", "it needs at least one line of values", line=0)
    if first.startswith(("PING", "[")):
        return "rtt"
    words = first.replace(",", " ").split()
    if not all(map(_is_number, words)):
        return "csv"
    return "mahimahi" if len(words) == 1 else "rate"


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True
