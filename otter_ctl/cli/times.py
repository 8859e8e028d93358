"""Times on the command line: `10m` ago, `2026-11-22T20:43:22`, seconds since 1970."""

from __future__ import annotations

import re
import time
from datetime import datetime

import click

_AGO = re.compile(r"(?:\d+(?:\.\d+)?(?:ms|s|m|min|h|d))+")
_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|min|h|d)(?![a-z])")
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0}
_UNIX = re.compile(r"\d{9,11}(?:\.\d+)?")
_LATEST = 2.0**33
"""Seconds since 1970: of calendars each library has another end."""


class Moment(click.ParamType[float]):
    """A moment as seconds since 1970; a duration counts back from now."""

    name = "time"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Read what the user wrote."""
        text = str(value).strip()
        if _AGO.fullmatch(text):
            return max(0.0, time.time() - _duration(text))
        if _UNIX.fullmatch(text):
            return float(text)
        try:
            return datetime.fromisoformat(text).timestamp()  # without a zone: ours
        except (ValueError, OverflowError, OSError):
            self.fail(f"{text!r} is neither a duration like 10m or 1h30m nor a time like "
                      "2026-11-22T20:43:22, 2026-11-22 or 1795380202", param, ctx)  # fmt: skip


def _duration(text: str) -> float:
    return sum(float(number) * _SECONDS[unit] for number, unit in _PART.findall(text))


def local(seconds: float, form: str) -> str:
    """A moment as our clocks show it; what nobody can have meant is the first or the last one."""
    return time.strftime(form, time.localtime(_sane(seconds)))


def _sane(seconds: float) -> float:
    return min(max(seconds, 0.0), _LATEST)


def utc(seconds: float) -> str:
    """As Docker writes it, to the millisecond."""
    seconds = _sane(seconds)
    whole = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))
    return f"{whole}.{int(seconds * 1000) % 1000:03d}Z"
