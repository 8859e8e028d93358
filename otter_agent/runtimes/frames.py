r"""Docker's byte streams: stdout and stderr in one, and log lines with their times. Pure.

    frame:  ┌────────┬─────────┬──────────────────┬─────────┐
            │ fd (1) │ 0 0 0   │ length (4, big)  │ bytes … │
            └────────┴─────────┴──────────────────┴─────────┘
    log:    a frame is `2026-11-22T20:43:22.123456789Z text\n`; a long line comes in several frames,
            only the last with a line end

Source: Docker Engine API, "Attach to a container", stream format. Must not know: connections.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from datetime import UTC, datetime

_HEADER = struct.Struct(">BxxxL")
_MAX_LINE = 1 << 20


class Frames:
    """Splits what arrives into (fd, bytes)."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[tuple[int, bytes]]:
        """All frames that are complete now."""
        self._buffer += data
        at = 0
        while len(self._buffer) - at >= _HEADER.size:
            fd, length = _HEADER.unpack_from(self._buffer, at)
            end = at + _HEADER.size + length
            if len(self._buffer) < end:
                break
            yield fd, bytes(self._buffer[at + _HEADER.size : end])
            at = end
        del self._buffer[:at]


class Lines:
    """Joins the frames of a log into lines with the time of their start."""

    def __init__(self) -> None:
        self._open: dict[int, tuple[str, bytes]] = {}

    def feed(self, fd: int, data: bytes) -> tuple[str, str] | None:
        """Take one frame; returns (Docker's time, text) if it ends a line."""
        stamp, _, text = data.partition(b" ")
        started, before = self._open.pop(fd, (stamp.decode(errors="replace"), b""))
        text = before + text
        if not text.endswith(b"\n") and len(text) < _MAX_LINE:
            self._open[fd] = started, text
            return None
        return started, text.rstrip(b"\r\n").decode(errors="replace")

    def rest(self) -> Iterator[tuple[str, str]]:
        """Lines that never got an end, once the stream is over."""
        for started, text in self._open.values():
            yield started, text.decode(errors="replace")
        self._open.clear()


def seconds(stamp: str) -> float | None:
    """Docker's nanosecond time as seconds since 1970; None if it isn't one."""
    whole, _, fraction = stamp.rstrip("Z").partition(".")
    try:
        base = datetime.fromisoformat(whole).replace(tzinfo=UTC).timestamp()
        return base + (float(f"0.{fraction}") if fraction else 0.0)
    except ValueError:
        return None


def moment(stamp: str) -> str:
    """The same time as the `since` parameter takes it: `SECONDS.NANOSECONDS`."""
    whole, _, fraction = stamp.rstrip("Z").partition(".")
    base = int(datetime.fromisoformat(whole).replace(tzinfo=UTC).timestamp())
    return f"{base}.{fraction.ljust(9, '0')}"
