"""Watches the logs that modules write: notes when they grew, and keeps them from growing for ever.

Modules write straight to their files, so nothing is lost or slowed down when this is late or dead.
The kernel tells of the first write after a quiet moment; then a log is looked at every `PAUSE_S`
while it grows, so a module that writes without end costs as much as one that prints now and then.
What is too much goes from the front, as a hole: the file's offsets stay, and so do its readers.
"""

from __future__ import annotations

import contextlib
import errno
import os
import struct
import sys
import time

from otter_agent.launcher import files, marks
from otter_agent.launcher.loop import Loop

LOG_BYTES = 64 << 20
"""What is kept of a log at least."""
SLACK_BYTES = 16 << 20
"""How much more it may grow before it is cut."""
START_ANEW_BYTES = 1 << 40
"""A log that reached this offset is begun anew with the module's next life: files have an end."""
PAUSE_S = 0.02
_SHARE = 5
"""The watching takes at most one part in so many of this process's time."""
_EVENT = struct.Struct("iIII")


class LogWatch:
    """Watches logs; one descriptor for all.

    Args:
        loop: The launcher's.
        log_bytes: What is kept of each at least.
        slack_bytes: How much more it may be.
    """

    def __init__(
        self, loop: Loop, log_bytes: int = LOG_BYTES, slack_bytes: int = SLACK_BYTES
    ) -> None:
        self._loop, self._log_bytes, self._slack_bytes = loop, log_bytes, slack_bytes
        self._fd = -1
        self._logs: dict[str, marks.Writer] = {}
        self._armed: dict[int, str] = {}
        self._watches: dict[str, int] = {}
        self._resting: set[str] = set()

    def add(self, log: str) -> None:
        """Watch a log from now on; it is made if it isn't there. Never raises."""
        try:
            if self._fd < 0:
                self._fd = files.inotify_open()
                self._loop.on_readable(self._fd, self._on_events)
            with contextlib.suppress(FileNotFoundError):
                if os.stat(log).st_size > START_ANEW_BYTES:
                    os.unlink(log)
                    os.unlink(marks.path_of(log))
            os.close(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o644))
            self._logs[log] = marks.Writer(log)
            self._look(log)
        except OSError as exc:
            _complain(log, exc)

    def remove(self, log: str) -> None:
        """Watch it no more; its last lines are noted first."""
        if log in self._logs:
            self._note_if_there(log)
        self._logs.pop(log, None)
        self._resting.discard(log)
        if (watch := self._watches.pop(log, None)) is not None:
            del self._armed[watch]
            files.inotify_forget(self._fd, watch)

    def _on_events(self) -> None:
        """Some logs grew: note it, and look again after a pause."""
        began = time.monotonic()
        grown = set()
        for watch in _fired(self._fd):
            if (log := self._armed.pop(watch, None)) is not None:
                del self._watches[log]
                grown.add(log)
                self._note_if_there(log)
        self._rest(grown, began)

    def _rest(self, logs: set[str], began: float) -> None:
        if logs and not self._resting:
            spent = time.monotonic() - began
            self._loop.call_later(max(PAUSE_S, spent * _SHARE), self._wake)
        self._resting |= logs

    def _wake(self) -> None:
        began = time.monotonic()
        logs, self._resting = self._resting, set()
        self._rest({log for log in logs if log in self._logs and not self._look(log)}, began)

    def _look(self, log: str) -> bool:
        """Ask the kernel to tell of the next write. True: there was none since the last note.

        In this order: what is written before the kernel was asked is seen here, what comes after
        is told.
        """
        try:
            if log not in self._watches:
                watch = files.inotify_once(self._fd, log)
                self._watches[log], self._armed[watch] = watch, log
            return not self._note(log)
        except OSError as exc:
            _complain(log, exc)
            return True

    def _note_if_there(self, log: str) -> None:
        with contextlib.suppress(OSError):
            self._note(log)

    def _note(self, log: str) -> bool:
        """Mark its size, if that is new, and cut it if it is too large."""
        writer = self._logs[log]
        there = os.stat(log)
        if there.st_size == writer.size:
            return False
        if there.st_size < writer.size:
            writer.restart()  # emptied
        writer.add(there.st_size, there.st_mtime_ns)
        if there.st_size - writer.base > self._log_bytes + self._slack_bytes:
            self._cut(log, writer, there.st_size - self._log_bytes)
        return True

    def _cut(self, log: str, writer: marks.Writer, base: int) -> None:
        """Let go of what comes before `base`: as a hole, or where there are none, of everything."""
        before = writer.base
        writer.set_base(base)
        fd = os.open(log, os.O_WRONLY | os.O_CLOEXEC)
        try:
            files.punch_hole(fd, before, base - before)
        except OSError as exc:
            if exc.errno not in (errno.EOPNOTSUPP, errno.ENOSYS):
                raise
            os.ftruncate(fd, 0)
            writer.restart()
        finally:
            os.close(fd)


def _fired(fd: int) -> list[int]:
    """The watches that fired."""
    found = []
    with contextlib.suppress(BlockingIOError):
        data = os.read(fd, 1 << 16)
        at = 0
        while at < len(data):
            watch, _, _, extra = _EVENT.unpack_from(data, at)
            found.append(watch)
            at += _EVENT.size + extra
    return found


def _complain(log: str, exc: OSError) -> None:
    sys.stderr.write(f"{log}: can't be watched: {exc.strerror}\n")
