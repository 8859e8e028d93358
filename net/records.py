"""What a module leaves of its messages in its state folder: `messages.csv`, a line each.

Lines of the receiver say where a message's time went: in the output (made to queued), in the
stream (to sent), on the link (to received), in the queue (to taken), in the module (to done).
Lines of the sender are of what it dropped. A message costs one append; lines are written together,
a moment later. Must not know: sockets, how messages travel.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from net.ids import DERIVED, message_id
from net.messages import Message
from net.outlets import Lost
from net.rubbish import to_the_log
from net.stamps import stamps
from net.traces import COLUMNS, MAX_RECORDS_BYTES

RECORDS_FILE = "messages.csv"
READY_FILE = "ready"
WRITE_AFTER_S = 0.2
"""A module that is killed loses the records of so long."""
WRITE_AT = 512
"""So many lines aren't waited with."""

_MOST_NAMES = 1000
_MANY = 32
"""So many times are written together."""

_Row = tuple[
    str, int, int, str | None, str, str, float, float, float, float, float, float, int, str
]
"""(sender, run, number, reply_to, stream, to, made … done, bytes, outcome)"""


class Records:
    """Appends to the records file; opened at the first record.

    Args:
        folder: The state folder; None: nothing is kept.
        module: Name of this module.
        limit_bytes: Size at which recording ends.
        error_of: How far a sender's clock and ours may be apart: nothing on one machine.
    """

    def __init__(
        self,
        folder: Path | None,
        module: str,
        limit_bytes: int = MAX_RECORDS_BYTES,
        error_of: Callable[[str], float] = lambda sender: 0.0,
    ) -> None:
        self._path = None if folder is None else folder / RECORDS_FILE
        self._module = module
        self._limit = limit_bytes
        self._error_of = error_of
        self._size = 0
        self._file = -1
        self._rows: list[_Row] = []
        self._names: dict[tuple[str, int, str, str], tuple[str, str]] = {}
        self._timer: asyncio.TimerHandle | None = None

    def add(self, message: Message, done: float, outcome: str = "done") -> None:
        """Record a message, once.

        Args:
            message: That this module received.
            done: When the module had finished with it; 0: it never was.
            outcome: `done`, `dropped`, `expired` or `failed`.
        """
        if message.recorded or self._path is None:
            return
        message.recorded = True
        self._rows.append((
            message.source, message.run, message.number, message.reply_to, message.stream,
            self._module, message.made, message.queued, message.sent, message.received,
            message.taken, done, message.size_bytes, outcome,
        ))  # fmt: skip
        if self._timer is None or len(self._rows) >= WRITE_AT:
            self._soon()

    def add_lost(self, lost: Lost, stream: str, receiver: str) -> None:
        """Record a message that didn't leave."""
        if self._path is None:
            return
        self._rows.append((
            self._module, lost.run, lost.number, lost.reply_to, stream, receiver,
            lost.made, lost.queued, 0.0, 0.0, 0.0, 0.0, lost.nbytes, lost.outcome,
        ))  # fmt: skip
        if self._timer is None or len(self._rows) >= WRITE_AT:
            self._soon()

    def _soon(self) -> None:
        """Write what waits: at once if that is much, else in a moment."""
        if len(self._rows) >= WRITE_AT:
            self.flush()
            return
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            return  # nobody to wake us: `close` writes
        self._timer = loop.call_later(WRITE_AFTER_S, self.flush)

    def flush(self) -> None:
        """Write what waits."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        rows, self._rows = self._rows, []
        if rows and self._path is not None:
            try:
                self._append("".join(self._lines(rows)).encode())
            except OSError as exc:
                self._give_up(f"can't write {self._path}: {exc.strerror or exc}")

    def _lines(self, rows: list[_Row]) -> Iterator[str]:
        times = stamps(np.array([row[6:12] for row in rows])) if len(rows) >= _MANY else None
        if times is None:
            times = [_times(row[6:12]) for row in rows]
        known, tails = self._names, dict[str, str]()
        for row, its_times in zip(rows, times, strict=True):
            source, run, number, reply_to, stream, to = row[:6]
            names = known.get((source, run, stream, to)) or self._name(source, run, stream, to)
            id_ = f"{names[0]}{number}" if names[0] else _cell(message_id(source, run, number))
            reply = _cell(reply_to) if reply_to else ""
            tail = tails.get(source)
            if tail is None:
                tail = tails[source] = f",{self._error_of(source):.3g}\n"
            yield f"{id_},{reply},{names[1]},{its_times}{row[12]},{row[13]}{tail}"

    def _name(self, source: str, run: int, stream: str, to: str) -> tuple[str, str]:
        """How ids of that run begin (empty: they have to be made one by one), and the names."""
        id_ = message_id(source, run, 0)
        begins = id_[:-1] if not run & DERIVED and _cell(id_) == id_ else ""
        names = begins, ",".join(map(_cell, (stream, source, to)))
        if len(self._names) < _MOST_NAMES:  # peers name themselves
            self._names[source, run, stream, to] = names
        return names

    def _append(self, lines: bytes) -> None:
        """One write: readers may follow the file."""
        assert self._path is not None
        if self._file < 0:
            flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
            self._file = os.open(self._path, flags, 0o644)
            self._size = os.fstat(self._file).st_size
            if not self._size:
                lines = ",".join(COLUMNS).encode() + b"\n" + lines
            elif os.pread(self._file, 1, self._size - 1) != b"\n":
                lines = b"\n" + lines  # a former life was killed in the middle of a line
        room = max(0, self._limit - self._size)
        if len(lines) > room:
            self._size += os.write(self._file, lines[: lines.rfind(b"\n", 0, room) + 1])
            self._give_up(f"{self._path} is full ({self._limit} bytes)")
            return
        self._size += os.write(self._file, lines)

    def _give_up(self, why: str) -> None:
        say(f"messages are no longer recorded: {why}")
        self._path = None
        self.close()

    def close(self) -> None:
        """Write what waits. Idempotent."""
        self.flush()
        if self._file >= 0:
            os.close(self._file)
            self._file = -1


def _times(times: tuple[float, ...]) -> str:
    return "".join([f"{time:.6f}," if time else "," for time in times])


def _cell(text: str) -> str:
    """A peer's word as one cell, whatever is in it."""
    if text.isprintable() and "," not in text and '"' not in text:
        return text
    printable = "".join(c if c.isprintable() else "?" for c in text)
    return '"' + printable.replace('"', '""') + '"'


def say_ready(folder: Path) -> None:
    """Make the `ready` file appear, at once and whole."""
    write_whole(folder / READY_FILE, b"ready\n")


def write_whole(path: Path, data: bytes) -> None:
    """Write a file so that readers see all of it or its predecessor."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_bytes(data)
    temporary.replace(path)


say = to_the_log
