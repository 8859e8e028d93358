"""Trace files -> their lines, and what is wrong with them by line. Bounded, whatever the file.

Must not know: any format.
"""

from __future__ import annotations

import math
import os
import stat
from array import array
from collections.abc import Iterator
from pathlib import Path

from net.links.traces.trace import MAX_POINTS, Trace, TraceFileError
from net.opening import READ_AT_ONCE

MAX_FILE_BYTES = 64 << 20
MAX_LINE_BYTES = 64 << 10
MAX_LENGTH_S = 1e8
"""Three years."""
_DATES_S = 1e8
"""Times from here on are seconds since 1970, not since a trace's beginning."""
_GAP_STEPS = 10
_GAP_S = 1.0
_TEXT = "traces are text: mahimahi, `seconds Mbit/s`, CSV, or a series of RTTs"


class Lines:
    """The lines of a file with their numbers, comments and empty ones left out.

    Args:
        path: The file.
        name: What to call it in errors.

    Raises:
        TraceFileError: It isn't there, isn't a text, is too long.
    """

    def __init__(self, path: Path, name: str = "") -> None:
        self.name = name or str(path)
        self.number = 0
        self._path = path

    def __iter__(self) -> Iterator[str]:
        try:
            yield from self._lines()
        except OSError as exc:
            raise self.error(f"can't be read: {exc.strerror or exc}", line=0) from exc

    def error(self, reason: str, hint: str = "", line: int | None = None) -> TraceFileError:
        """About the line read last, unless another is named."""
        return TraceFileError(self.name, self.number if line is None else line, reason, hint)

    def _lines(self) -> Iterator[str]:
        # Not blocking: a FIFO that nobody writes to must not hold the reader up.
        descriptor = os.open(self._path, READ_AT_ONCE)
        with os.fdopen(descriptor, "rb") as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise self.error("is not a file", _TEXT, line=0)
            if status.st_size > MAX_FILE_BYTES:
                size = f"{status.st_size / (1 << 20):,.0f} MiB"
                hint = f"at most {MAX_FILE_BYTES >> 20} MiB: cut it, or thin its points out"
                raise self.error(f"is too long ({size})", hint, line=0)
            left = MAX_FILE_BYTES  # somebody may write to it meanwhile
            while left > 0 and (raw := file.readline(MAX_LINE_BYTES + 1)):
                left -= len(raw)
                self.number += 1
                text = self._text(raw)
                if text and not text.startswith("#"):
                    yield text

    def _text(self, raw: bytes) -> str:
        if b"\0" in raw:
            raise self.error("is binary, not a text", _TEXT)
        if len(raw) > MAX_LINE_BYTES:
            raise self.error("has a line of over 64 KiB", _TEXT)
        try:
            text = raw.decode("utf-8-sig" if self.number == 1 else "utf-8")
        except UnicodeDecodeError:
            raise self.error("is binary, or not UTF-8", _TEXT) from None
        return text.strip()


class Points:
    """Gathers a trace point by point, and says at which line something is wrong.

    Args:
        lines: Where the points come from.
        fields: Columns of the trace.
    """

    def __init__(self, lines: Lines, fields: tuple[str, ...]) -> None:
        self._lines = lines
        self._start: float | None = None
        self._where = array("l")
        self.times = array("d")
        self.columns = {name: array("d") for name in fields}

    def add(self, time_s: float, values: dict[str, float]) -> None:
        """A point; what it doesn't say stays as it was.

        Raises:
            TraceFileError: Its time is not after the one before, or there are too many.
        """
        if not math.isfinite(time_s) or time_s < 0:
            raise self._lines.error(f"time {time_s:g} is not a time", "times count from 0 on")
        if self._start is None:
            self._start = time_s if time_s >= _DATES_S else 0.0
        time_s -= self._start
        if self.times and time_s <= self.times[-1]:
            self._unsorted(time_s)
        if time_s > MAX_LENGTH_S:
            hint = "write seconds; milliseconds as a column `time_ms`"
            raise self._lines.error(f"time {time_s:g} s is over three years", hint)
        if len(self.times) >= MAX_POINTS:
            hint = "cut it, or thin its points out"
            raise self._lines.error(f"has more than {MAX_POINTS:,} points", hint)
        self.times.append(time_s)
        self._where.append(self._lines.number)
        for name, column in self.columns.items():
            before = column[-1] if column else math.nan
            column.append(values.get(name, before))

    def _unsorted(self, time_s: float) -> None:
        before = self.times[-1]
        if time_s == before:
            hint = "one line a moment: with coarse times, number them 1.0, 1.1, …"
            raise self._lines.error(f"time {time_s:g} stands there twice", hint)
        hint = "sort the lines by time: sort -n"
        raise self._lines.error(f"time {time_s:g} comes after {before:g}", hint)

    def trace(self) -> Trace:
        """All of it; it is as long as its last value holds, which is as long as most do.

        Raises:
            TraceFileError: There is nothing.
        """
        if not self.times:
            raise self._lines.error("is empty: it has no values", _TEXT, line=0)
        steps = [b - a for a, b in zip(self.times, self.times[1:], strict=False)]
        step = _median(steps) if steps else 1.0
        columns = {n: c for n, c in self.columns.items() if any(v == v for v in c)}
        if len(columns) > 1 and "up" in columns and min(columns["up"]) > 0:
            del columns["up"]  # it never is down: that needs no saying
        if not columns:
            raise self._lines.error("is empty: its columns have no values", _TEXT, line=0)
        length = max(self.times[-1] + step, math.nextafter(self.times[-1], math.inf))
        return Trace(self.times, columns, length, notes=tuple(self._gaps(steps, step)))

    def _gaps(self, steps: list[float], usual: float) -> Iterator[str]:
        limit = max(_GAP_S, usual * _GAP_STEPS)
        wide = [i for i, step in enumerate(steps) if step > limit]
        for i in wide[:1]:
            more = f", and {len(wide) - 1} more gaps" if wide[1:] else ""
            yield (
                f"{self._lines.name}:{self._where[i + 1]}: says nothing from {self.times[i]:g} s to"
                f" {self.times[i + 1]:g} s{more}: what holds before goes on holding"
            )


def _median(values: list[float]) -> float:
    """As `statistics` has it, whose import would cost every verb 15 ms."""
    ordered, count = sorted(values), len(values)
    return (ordered[(count - 1) // 2] + ordered[count // 2]) / 2


def number(lines: Lines, text: str, what: str, least: float = 0.0, most: float = math.inf) -> float:
    """A plain number in a range.

    Raises:
        TraceFileError: It isn't.
    """
    try:
        value = float(text)
    except ValueError:
        raise lines.error(f"{what} {short(text)} is not a number") from None
    if not math.isfinite(value):
        raise lines.error(f"{what} {short(text)} is not a finite number", "leave that line out")
    if not least <= value <= most:
        ends = f"at least {least:g}" if most == math.inf else f"between {least:g} and {most:g}"
        raise lines.error(f"{what} {short(text)} must be {ends}")
    return value


def short(text: str) -> str:
    """In quotes, printable, not too long."""
    shown = ascii(text)
    return shown if len(shown) <= 40 else shown[:37] + "…'"
