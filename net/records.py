"""What a module leaves in its state folder: `ready`, and one record per message received.

Records are NDJSON, one line a message: where its time went on the link (sent to received), in the
queue (to taken) and in the module (to done). Must not know: asyncio, sockets.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from net.messages import Message

RECORDS_FILE = "messages.ndjson"
READY_FILE = "ready"
MAX_RECORDS_BYTES = 64 * 2**20
"""Then records end: some 300,000 messages."""


class Records:
    """Appends to the records file; opened at the first record.

    Args:
        folder: The state folder; None: nothing is kept.
        module: Name of the receiving module.
        limit_bytes: Size at which recording ends.
    """

    def __init__(
        self, folder: Path | None, module: str, limit_bytes: int = MAX_RECORDS_BYTES
    ) -> None:
        self._path = None if folder is None else folder / RECORDS_FILE
        self._module = module
        self._limit = limit_bytes
        self._size = 0
        self._file = -1

    def add(self, message: Message, done: float) -> None:
        """Record a message, once; `done` is when the module had finished with it."""
        if message.recorded:
            return
        message.recorded = True
        if self._path is None:
            return
        record = {
            "stream": message.stream,
            "id": message.id,
            "from": message.source,
            "to": self._module,
            "made": message.made,
            "sent": message.sent,
            "received": message.received,
            "taken": message.taken,
            "done": done,
            "bytes": message.size_bytes,
        }
        try:
            self._append(json.dumps(record, separators=(",", ":")).encode() + b"\n")
        except OSError as exc:
            self._give_up(f"can't write {self._path}: {exc.strerror or exc}")

    def _append(self, line: bytes) -> None:
        """One write per line: readers may follow the file, and a killed module loses nothing."""
        assert self._path is not None
        if self._file < 0:
            flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
            self._file = os.open(self._path, flags, 0o644)
            self._size = os.fstat(self._file).st_size
        if self._size + len(line) > self._limit:
            self._give_up(f"{self._path} is full ({self._limit} bytes)")
            return
        self._size += os.write(self._file, line)

    def _give_up(self, why: str) -> None:
        say(f"messages are no longer recorded: {why}")
        self._path = None
        self.close()

    def close(self) -> None:
        """Idempotent."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1


def say_ready(folder: Path) -> None:
    """Make the `ready` file appear, at once and whole."""
    temporary = folder / f".{READY_FILE}.{os.getpid()}"
    temporary.write_text("ready\n")
    temporary.replace(folder / READY_FILE)


def say(line: str) -> None:
    """One line to the module's log."""
    print(f"otter: {line}", file=sys.stderr, flush=True)
