"""Quantities as people write them ("10ms", "20mbit", "1GiB", "0.5%") -> SI numbers, and back. Pure.

Four kinds, a parser and a formatter each: duration (s), rate (bit/s), size (bytes), ratio (0 to 1).
`parse(format(x)) == x` for every x that the parser can give. Unit names are case-sensitive only
where case tells units apart. Must not know: topology keys, links, numpy.
"""

from __future__ import annotations

import math
import re

from net.errors import OtterError

MAX_TEXT = 64
"""Longest text that is looked at, characters."""
MAX_DURATION_S = 1e9
MAX_RATE_BPS = 1e15
MAX_SIZE_BYTES = 2**63 - 1

DURATION_ACCEPTS = 'a number with ns, us, ms, s, min or h, such as "10ms"'
RATE_ACCEPTS = 'bits per second as a number with bit, kbit, mbit, gbit or tbit, such as "20mbit"'
SIZE_ACCEPTS = (
    "bytes as a plain integer, or a number with B, kB, MB, GB, TB (powers of 1000) "
    'or KiB, MiB, GiB, TiB (powers of 1024), such as "1GiB"'
)
RATIO_ACCEPTS = 'a percentage such as "0.5%", or a plain number from 0 to 1'

_DURATIONS = {"ns": 1e-9, "us": 1e-6, "ms": 1e-3, "s": 1.0, "min": 60.0, "h": 3600.0}
_RATES = {"bit": 1, "kbit": 10**3, "mbit": 10**6, "gbit": 10**9, "tbit": 10**12}
_SIZES = {
    "B": 1, "kB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12,
    "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40,
}  # fmt: skip
_DIGITS = r"[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]{1,3})?"
_NUMBER = re.compile(rf"({_DIGITS})\s*([^0-9\s.+-]*)\Z")

DURATION_PATTERN = rf"\s*(?:{_DIGITS}\s*(?:{'|'.join(_DURATIONS)}|µs)|0+(?:\.0+)?)\s*"
RATE_PATTERN = rf"\s*{_DIGITS}\s*[kKmMgGtT]?[bB][iI][tT]\s*"
SIZE_PATTERN = rf"\s*(?:{_DIGITS}\s*(?:{'|'.join(_SIZES)})|[0-9]+)\s*"
RATIO_PATTERN = rf"\s*{_DIGITS}\s*%?\s*"
"""Regular expressions that every text of a kind matches, for editors; they know no limits."""


class UnitError(OtterError, ValueError):
    """A text isn't a quantity of the kind asked for; the message names what is accepted."""


def duration(value: str | float) -> float:
    """Seconds of a text such as ``"10ms"``; a plain 0 needs no unit.

    Raises:
        UnitError: Not a duration, negative, or over 1e9 s.
    """
    if isinstance(value, str):
        number, unit = _split(value, "duration", DURATION_ACCEPTS)
        factor = _DURATIONS.get("us" if unit == "µs" else unit)
    else:
        number, unit, factor = _plain(value, "duration", DURATION_ACCEPTS), "", None
    if factor is None:
        if number == 0 and not unit:
            return 0.0
        raise _bad(value, "duration", DURATION_ACCEPTS, _unit_trouble(unit))
    return _bounded(_times(number, factor), value, "duration", MAX_DURATION_S, DURATION_ACCEPTS)


def rate(value: str) -> float:
    """Bit/s of a text such as ``"20mbit"``.

    Raises:
        UnitError: Not a rate, negative, or over 1e15 bit/s.
    """
    if not isinstance(value, str):
        _plain(value, "rate", RATE_ACCEPTS)
        raise _bad(value, "rate", RATE_ACCEPTS, "a unit is missing")
    number, unit = _split(value, "rate", RATE_ACCEPTS)
    factor = _RATES.get(_rate_unit(unit))
    if factor is None:
        raise _bad(value, "rate", RATE_ACCEPTS, _rate_trouble(unit))
    return _bounded(number * factor, value, "rate", MAX_RATE_BPS, RATE_ACCEPTS)


def size(value: str | int) -> int:
    """Bytes of a text such as ``"1GiB"``; a plain integer counts bytes.

    Raises:
        UnitError: Not a size, negative, or over 2^63 - 1.
    """
    if isinstance(value, int) and not isinstance(value, bool):
        return _bounded_size(value, value)
    if not isinstance(value, str):
        raise _bad(value, "size", SIZE_ACCEPTS, "not a text or an integer")
    number, unit = _split(value, "size", SIZE_ACCEPTS)
    factor = 1 if not unit and isinstance(number, int) else _SIZES.get(unit)
    if factor is None:
        raise _bad(value, "size", SIZE_ACCEPTS, _size_trouble(unit))
    if number * factor > MAX_SIZE_BYTES:
        raise _bad(value, "size", SIZE_ACCEPTS, "too large")
    return _bounded_size(round(number * factor), value)


def ratio(value: str | float) -> float:
    """0 to 1 of a text such as ``"0.5%"``, or of a plain number in that range.

    Raises:
        UnitError: Not a ratio, or not from 0 to 1.
    """
    if isinstance(value, str):
        number, unit = _split(value, "ratio", RATIO_ACCEPTS)
        if unit not in ("%", ""):
            raise _bad(value, "ratio", RATIO_ACCEPTS, _unit_trouble(unit))
        number = number / 100 if unit == "%" else number
    else:
        number = _plain(value, "ratio", RATIO_ACCEPTS)
    return _bounded(number, value, "ratio", 1.0, RATIO_ACCEPTS)


def format_duration(seconds: float) -> str:
    """The shortest text that `duration` reads as exactly `seconds`."""
    if seconds == 0:
        return "0s"
    for unit in ("h", "min", "s", "ms", "us", "ns"):
        number = seconds / _DURATIONS[unit]
        for digits in (0, 1, 2, 3):
            short = round(number, digits)
            if short >= 1 and _times(short, _DURATIONS[unit]) == seconds:
                return f"{_plain_text(short)}{unit}"
    return f"{seconds!r}s"


def format_rate(bits_per_second: float) -> str:
    """The shortest text that `rate` reads as exactly `bits_per_second`."""
    for unit in ("tbit", "gbit", "mbit", "kbit"):
        number = bits_per_second / _RATES[unit]
        if number >= 1 and round(number, 3) * _RATES[unit] == bits_per_second:
            return f"{_plain_text(round(number, 3))}{unit}"
    return f"{_plain_text(bits_per_second)}bit"


def format_size(size_bytes: int) -> str:
    """The shortest text that `size` reads as exactly `size_bytes`."""
    for unit in ("TiB", "TB", "GiB", "GB", "MiB", "MB", "KiB", "kB"):
        if size_bytes and size_bytes % _SIZES[unit] == 0:
            return f"{size_bytes // _SIZES[unit]}{unit}"
    return f"{size_bytes}B"


def format_ratio(value: float) -> str:
    """The shortest text that `ratio` reads as exactly `value`."""
    percent = round(value * 100, 6)
    if percent / 100 == value:
        return f"{_plain_text(percent)}%"
    return repr(value)


def _split(text: str, kind: str, accepts: str) -> tuple[int | float, str]:
    """Number (whole ones exact) and unit of `text`."""
    if len(text) > MAX_TEXT:
        raise _bad(text, kind, accepts, f"longer than {MAX_TEXT} characters")
    stripped = text.strip()
    if stripped.startswith("-"):
        raise _bad(text, kind, accepts, "negative")
    match = _NUMBER.match(stripped)
    if match is None:
        raise _bad(text, kind, accepts, "")
    number = int(match[1]) if match[1].isdigit() else float(match[1])
    if not math.isfinite(number):
        raise _bad(text, kind, accepts, "too large")
    return number, match[2]


def _plain(value: object, kind: str, accepts: str) -> float:
    """A finite, non-negative number that isn't a bool."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise _bad(value, kind, accepts, "not a text or a number")
    try:
        number = float(value)
    except OverflowError:
        raise _bad(value, kind, accepts, "too large") from None
    if not math.isfinite(number) or number < 0:
        raise _bad(value, kind, accepts, "negative" if number < 0 else "not a finite number")
    return number


def _times(number: float, factor: float) -> float:
    """`number * factor`, rounded as the decimal text would be: 10 ms is 0.01, not 0.010000…2."""
    return number / round(1 / factor) if factor < 1 else number * factor


def _bounded(number: float, value: object, kind: str, most: float, accepts: str) -> float:
    if number > most:
        raise _bad(value, kind, accepts, f"over the limit of {most:g}")
    return number


def _bounded_size(number: int, value: object) -> int:
    if number < 0:
        raise _bad(value, "size", SIZE_ACCEPTS, "negative")
    if number > MAX_SIZE_BYTES:
        raise _bad(value, "size", SIZE_ACCEPTS, "too large")
    return number


def _rate_unit(unit: str) -> str:
    """`20Mbit` and `20mbit` mean the same: nobody shapes to millibits."""
    return unit.lower()


def _rate_trouble(unit: str) -> str:
    low = unit.lower()
    if low in {"kbps", "mbps", "gbps", "bps", "kb/s", "mb/s", "gb/s"}:
        return f"{unit!r} may mean bits or bytes per second"
    if low.endswith("ibit"):
        return "rates count in powers of 1000"
    return _unit_trouble(unit)


def _size_trouble(unit: str) -> str:
    near = {name.lower(): name for name in _SIZES}
    short = {"k": "KiB", "m": "MiB", "g": "GiB", "t": "TiB"}
    meant = near.get(unit.lower()) or short.get(unit.lower())
    return f"did you mean {meant!r}?" if meant else _unit_trouble(unit)


def _unit_trouble(unit: str) -> str:
    return f"unknown unit {unit!r}" if unit else "a unit is missing"


def _bad(value: object, kind: str, accepts: str, why: str) -> UnitError:
    """The error for `value`, which is shown shortened: it may be hostile."""
    shown = ascii(value) if not isinstance(value, int) or abs(value) < 10**30 else "an integer"
    shown = shown if len(shown) <= 48 else shown[:45] + "…"
    reason = f" ({why})" if why else ""
    return UnitError(f"{shown} is not a {kind}{reason}: write {accepts}")


def _plain_text(number: float) -> str:
    """No exponent, no trailing `.0`."""
    return str(int(number)) if number == int(number) else repr(number)
