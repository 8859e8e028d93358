r"""Trace -> bytes and back: what travels to the agents, named by its content. Pure.

    "OTRACE1\n"  header: one line of JSON  "\n"  columns: float64, little-endian

The header has `length_s`, `points`, `columns` (names; the times come first) and `opportunities`
(their number). What is read is checked as if it came from anybody: it does.
"""

from __future__ import annotations

import json
import mmap
import sys
from array import array
from typing import Any

from net.links.delivery import Schedule
from net.links.traces.trace import FIELDS, MAX_POINTS, Trace

MAGIC = b"OTRACE1\n"
_HEADER_LIMIT = 4096


def encode(trace: Trace) -> bytes:
    """The same trace gives the same bytes, everywhere."""
    opportunities = trace.opportunities_s
    names = [name for name in FIELDS if name in trace.columns]
    header = {
        "columns": names,
        "length_s": trace.length_s,
        "opportunities": 0 if opportunities is None else len(opportunities),
        "points": len(trace.times_s),
    }
    parts = [trace.times_s, *(trace.columns[name] for name in names)]
    if opportunities is not None:
        parts.append(opportunities)
    return MAGIC + json.dumps(header).encode() + b"\n" + b"".join(map(_bytes, parts))


def decode(data: bytes) -> Trace:
    """Read what `encode` made.

    Raises:
        ValueError: It is something else.
    """
    try:
        return _decode(data)
    except (KeyError, TypeError, UnicodeDecodeError) as exc:
        raise ValueError(f"not a trace: {exc}") from exc


def _decode(data: bytes) -> Trace:
    header, start = _header(data)
    names, length_s = header["columns"], float(header["length_s"])
    if len(names) > len(FIELDS) or set(names) - set(FIELDS):
        raise ValueError(f"not a trace: columns {names}"[:200])
    opportunities = int(header["opportunities"])
    arrays = []
    for size in _sizes(header, len(data) - start):
        arrays.append(_array(data[start : start + size * 8]))
        start += size * 8
    columns = dict(zip(names, arrays[1 : 1 + len(names)], strict=True))
    return Trace(arrays[0], columns, length_s, arrays[-1] if opportunities else None)


def schedule(data: bytes | mmap.mmap) -> Schedule:
    """The opportunities alone, of what was decoded before; of a file in memory they stay there.

    Raises:
        ValueError: It is something else, or has none.
    """
    try:
        header, start = _header(data)
        opportunities = int(header["opportunities"])
        if not opportunities:
            raise ValueError("the trace has no opportunities")
        start += sum(_sizes(header, len(data) - start)[:-1]) * 8
        if sys.byteorder == "big":
            return Schedule(_array(bytes(data[start:])), float(header["length_s"]))
        times = memoryview(data)[start:].cast("d")
        return Schedule(times, float(header["length_s"]))
    except (KeyError, TypeError, UnicodeDecodeError) as exc:
        raise ValueError(f"not a trace: {exc}") from exc


def _header(data: bytes | mmap.mmap) -> tuple[dict[str, Any], int]:
    """What stands before the columns, and where these begin."""
    if data[: len(MAGIC)] != MAGIC:
        raise ValueError("not a trace: it begins otherwise")
    end = data.find(b"\n", len(MAGIC), len(MAGIC) + _HEADER_LIMIT)
    if end < 0:
        raise ValueError("not a trace: its header has no end")
    return json.loads(data[len(MAGIC) : end]), end + 1


def _sizes(header: dict[str, Any], there_bytes: int) -> list[int]:
    """How many numbers each column has."""
    points, opportunities = int(header["points"]), int(header["opportunities"])
    if not 0 < points <= MAX_POINTS or not 0 <= opportunities <= MAX_POINTS:
        raise ValueError("not a trace: too many points, or none")
    sizes = [points] * (1 + len(header["columns"])) + ([opportunities] if opportunities else [])
    if there_bytes != sum(sizes) * 8:
        raise ValueError("not a trace: it is cut off, or goes on")
    return sizes


def _bytes(values: array[float]) -> bytes:
    if sys.byteorder == "big":
        values = array("d", values)
        values.byteswap()
    return values.tobytes()


def _array(data: bytes) -> array[float]:
    values = array("d")
    values.frombytes(data)
    if sys.byteorder == "big":
        values.byteswap()
    return values
