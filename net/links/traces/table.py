"""CSV with a header: `time`, and any of `rate`, `delay`, `jitter`, `loss`, `up`, `rtt`.

Or of `cpu`, `speed`, `memory`, `read`, `write`, `in`, `out`, which are of hosts and modules.
Units stand in the header (`rate_mbit`, `delay [ms]`, `loss (%)`) or at each value (`20mbit`).
Times without one are seconds, losses shares from 0 to 1, `cpu` is cores; a rate, delay, jitter or
size without a unit is refused. An empty cell: nothing new. Separated by commas, semicolons or tabs.
"""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Callable, Mapping

from net import units
from net.links.traces.lines import Lines, Points, number, short
from net.links.traces.rates import rate_values
from net.links.traces.trace import LIMITS, Trace
from net.units import UnitError

_NAMES = {
    "time": "time", "t": "time", "seconds": "time", "timestamp": "time",
    "rate": "rate_bps", "bandwidth": "rate_bps", "throughput": "rate_bps",
    "delay": "delay_s", "latency": "delay_s", "jitter": "jitter_s", "loss": "loss_ratio",
    "up": "up", "rtt": "rtt", "cpu": "cpu", "cores": "cpu", "speed": "speed",
    "memory": "memory_bytes", "read": "read_bytes_per_s", "write": "write_bytes_per_s",
    "in": "in_bps", "out": "out_bps",
}  # fmt: skip
KNOWN = "time, rate, delay, jitter, loss, up, rtt; cpu, speed, memory, read, write, in, out"
_COMMON = frozenset({"speed", "memory", "read", "write", "in", "out"})
"""Headers of other people's files, too, where they mean something else."""


def _per_second(text: str) -> float:
    return units.size(text.removesuffix("/s"))


_KINDS: dict[str, Callable[[str], float]] = {
    "time": units.duration, "rate_bps": units.rate, "delay_s": units.duration,
    "jitter_s": units.duration, "loss_ratio": units.ratio, "rtt": units.duration,
    "memory_bytes": units.size, "read_bytes_per_s": _per_second, "write_bytes_per_s": _per_second,
    "in_bps": units.rate, "out_bps": units.rate,
}  # fmt: skip
_HEADER = re.compile(
    r"([A-Za-z]+)(?:(?:[\s_]+|(?=[\[(]))[\[(]?\s*([a-zA-Zµ%]+(?:/s)?)\s*[\])]?)?\Z"
)
_UNITS = {"mbps": "mbit", "kbps": "kbit", "gbps": "gbit", "bps": "bit", "mbit/s": "mbit",
          "kbit/s": "kbit", "gbit/s": "gbit", "bit/s": "bit", "percent": "%"}  # fmt: skip
_NO_UNIT = {"cpu": "cpu is in cores", "speed": "speed is a number"}
_UP = {"1": 1.0, "true": 1.0, "up": 1.0, "0": 0.0, "false": 0.0, "down": 0.0}
_EXAMPLES = {"rate_bps": "rate_mbit", "delay_s": "delay_ms", "jitter_s": "jitter_ms",
             "rtt": "rtt_ms", "memory_bytes": "memory_MiB", "read_bytes_per_s": "read_MB/s",
             "write_bytes_per_s": "write_MB/s", "in_bps": "in_mbit",
             "out_bps": "out_mbit"}  # fmt: skip


class _Column:
    """One column: what it says and in which unit."""

    def __init__(self, field: str, unit: str) -> None:
        self.field = field
        self.name = field.partition("_")[0]
        self._unit = unit
        usual = (0.0, 7200.0 if field == "rtt" else 1e12)
        self._least, self._most = LIMITS.get(field, usual)
        self._factor = _factor(field, unit)

    def value(self, lines: Lines, cell: str) -> float:
        """A cell as an SI number."""
        if self.field == "up":
            up = _UP.get(cell.lower())
            if up is None:
                raise lines.error(f"up {short(cell)} must be 0 or 1")
            return up
        try:
            plain = float(cell)
        except ValueError:
            value = self._quantity(lines, cell)
        else:
            if not 0 <= plain < math.inf:
                number(lines, cell, self.name)  # says what is wrong
            if self._factor is None:
                hint = f"write the unit into the header, such as `{_EXAMPLES[self.field]}`, or to"
                raise lines.error(f"{self.name} {short(cell)} has no unit", f"{hint} each value")
            # As the text would be read: 10 ms are 0.01 s, not 0.010000000000000002.
            small = self._factor < 1
            value = plain / round(1 / self._factor) if small else plain * self._factor
        if value > self._most:
            reason = f"{self.name} {short(cell + self._unit)} is over the limit of {self._most:g}"
            raise lines.error(reason)
        if value < self._least:
            raise lines.error(f"{self.name} {short(cell + self._unit)} is below {self._least:g}")
        return value

    def _quantity(self, lines: Lines, text: str) -> float:
        if self.field not in _KINDS:
            raise lines.error(f"{self.name} {short(text)} must be a number")
        try:
            return _KINDS[self.field](text)
        except UnitError as exc:
            raise lines.error(f"{self.name}: {exc.message}") from None


def _factor(field: str, unit: str) -> float | None:
    """What a number of the column is multiplied with; None: it needs a unit."""
    if field in ("up", "cpu", "speed"):
        return 1.0
    if unit:
        return _KINDS[field](f"1{unit}")
    return 1.0 if field in ("time", "loss_ratio") else None


def read(lines: Lines, columns: Mapping[str, str] | None = None) -> Trace:
    """The trace of a file.

    Args:
        lines: Of the file.
        columns: What headers are to be read as: `{"DL_bitrate": "rate_kbit"}`; with these, others
            that aren't known are left out.

    Raises:
        TraceFileError: It isn't one.
    """
    rows = iter(lines)
    header = next(rows, None)
    if header is None:
        raise lines.error("is empty: it has no header", f"columns are {KNOWN}", line=0)
    between = next((c for c in (",", ";", "\t") if c in header), ",")
    found = _columns(lines, _cells(lines, header, between), columns or {})
    fields = [column.field for column in found if column is not None]
    points = Points(lines, _fields(lines, fields))
    for text in rows:
        cells = _cells(lines, text, between)
        if len(cells) != len(found):
            reason = f"has {len(cells)} cells where the header has {len(found)}"
            raise lines.error(reason, "each line needs them all; a cell may be empty")
        _add(lines, points, found, cells)
    return points.trace()


def _fields(lines: Lines, fields: list[str]) -> tuple[str, ...]:
    """Of the trace; what stands twice is refused."""
    for field in fields:
        if fields.count(field) > 1 or (field == "rtt" and "delay_s" in fields):
            raise lines.error(f"has two columns for {field.partition('_')[0]}")
    if "time" not in fields:
        hint = f"columns are {KNOWN}; `columns` in the topology renames others"
        raise lines.error("has no column `time`", hint)
    made = {"rtt": "delay_s"}
    names = [made.get(field, field) for field in fields if field != "time"]
    if not names:
        raise lines.error("has no column but `time`", f"columns are {KNOWN}")
    return tuple(dict.fromkeys([*names, *(["up"] if "rate_bps" in names else [])]))


def _add(lines: Lines, points: Points, found: list[_Column | None], cells: list[str]) -> None:
    time: float | None = None
    values: dict[str, float] = {}
    up: float | None = None
    for column, raw in zip(found, cells, strict=True):
        cell = raw.strip()
        if column is None or not cell:
            continue
        value = column.value(lines, cell)
        if column.field == "time":
            time = value
        elif column.field == "rate_bps":
            values |= rate_values(value)
        elif column.field == "rtt":
            values["delay_s"] = value / 2
        elif column.field == "up":
            up = value
        else:
            values[column.field] = value
    if time is None:
        raise lines.error("has no time", "each line needs one")
    if up is not None:
        values["up"] = min(up, values.get("up", 1.0))
    points.add(time, values)


def _cells(lines: Lines, text: str, between: str) -> list[str]:
    if '"' not in text:
        return text.split(between)
    try:
        return next(csv.reader([text], delimiter=between, strict=True))
    except csv.Error as exc:
        raise lines.error(f"is not CSV: {exc}") from None


def _columns(lines: Lines, header: list[str], renamed: Mapping[str, str]) -> list[_Column | None]:
    stripped = [cell.strip() for cell in header]
    missing = next((name for name in renamed if name not in stripped), None)
    if missing is not None:
        hint = f"it has {', '.join(short(cell) for cell in stripped[:8])}"
        raise lines.error(f"has no column {short(missing)}", hint)
    return [
        None
        if renamed and cell not in renamed and _name(cell) in _COMMON
        else _column(lines, renamed.get(cell, cell), optional=bool(renamed))
        for cell in stripped
    ]


def _name(header: str) -> str:
    said = _HEADER.match(header)
    return said[1].lower() if said else ""


def _column(lines: Lines, text: str, *, optional: bool) -> _Column | None:
    said = _HEADER.match(text)
    field = _NAMES.get(said[1].lower()) if said else None
    if said is None or field is None:
        if optional:
            return None
        hint = f"columns are {KNOWN}; `columns` in the topology renames others"
        raise lines.error(f"unknown column {short(text)}", hint)
    unit = said[2] or ""
    unit = _UNITS.get(unit.lower(), unit)
    if unit and field in _NO_UNIT:
        raise lines.error(f"column {short(text)}: {_NO_UNIT[field]}, without a unit")
    if unit and field in _KINDS:
        try:
            _KINDS[field](f"0{unit}")
        except UnitError as exc:
            raise lines.error(f"column {short(text)}: {exc.message}") from None
    return _Column(field, unit)
