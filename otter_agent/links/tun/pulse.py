"""The helper's pulse: that it lives, and how late it is, without asking it.

It beats in a file that both sides map: a helper that hangs answers nothing, and nothing may be
waited for. A beat is also a sample of how long a packet that comes now would wait to be read, so it
beats faster while packets pass. Source: proc(5) for a process's state. Must not know: links.
"""

from __future__ import annotations

import mmap
import os
import struct
import time
from contextlib import suppress
from pathlib import Path

from otter_agent.links.tun.protocol import Pulse

LATE_S = 0.003
"""Later than this a packet is not what was asked: what is promised on a busy machine."""
REST_S = 0.25
_BUSY_S = 0.02
HANGS_S = 1.2
"""Without a beat for so long, it hangs, unless others have the processors."""
_FORM = struct.Struct("=dq")
_SIZE = 4096
_WORK_S = 1.0
"""Of processor time between two beats: nothing that it does takes so long, so it runs round."""
_TICK_S = 1 / os.sysconf("SC_CLK_TCK")


def path_of(socket: Path) -> Path:
    """Of a helper's socket."""
    return socket.with_suffix(".beat")


class Heart:
    """The helper's end.

    Args:
        socket: Its own; None: nobody looks.

    Attributes:
        next_s: When it beats next.
        moved: Packets that passed; the loop counts them.
    """

    def __init__(self, socket: Path | None = None) -> None:
        self._page = None if socket is None else _page(path_of(socket), os.O_CREAT)
        self.next_s = 0.0
        self.moved = 0
        self._moved = 0
        self._beats = self._late = 0
        self._max_s = 0.0
        self._busy = False

    def beat(self, now: float) -> None:
        """Its time has come."""
        late_s = now - self.next_s if self.next_s else 0.0
        if self._busy:  # at rest it harms nobody, and a sleeping processor takes its time
            self._beats += 1
            self._late += late_s > LATE_S
            self._max_s = max(self._max_s, late_s)
        self._busy, self._moved = self.moved != self._moved, self.moved
        self.next_s = now + (_BUSY_S if self._busy else REST_S)
        if self._page is not None:
            _FORM.pack_into(self._page, 0, now, os.getpid())

    def told(self) -> Pulse:
        """What it counted so far."""
        return Pulse(moments=self._beats, late_moments=self._late, worst_s=self._max_s)


class Watched:
    """The agent's end: whether a helper hangs.

    Args:
        socket: The helper's.
        pid: Its process.
    """

    def __init__(self, socket: Path, pid: int) -> None:
        self._pid = pid
        self._page: mmap.mmap | None = None
        with suppress(OSError, ValueError):  # one of before had no pulse
            self._page = _page(path_of(socket), 0)
        self._seen_s = 0.0
        self._used_s = 0.0
        self._looked_s = time.monotonic()

    @property
    def last_s(self) -> float:
        """When it beat last (monotonic seconds); 0: that isn't known."""
        if self._page is None:
            return 0.0
        at, pid = _FORM.unpack_from(self._page)
        return float(at) if pid == self._pid else 0.0

    def hangs(self, now: float) -> bool:
        """Whether it hangs; to be asked several times a second."""
        last_s, before_s = self.last_s, self._looked_s
        self._looked_s = now
        if last_s != self._seen_s:
            self._seen_s, self._used_s = last_s, _used_s(self._pid)[1]
            return False
        if not last_s or now - last_s < HANGS_S or now - before_s > HANGS_S / 2:
            return False  # it lives, or who watches was held up, too
        state, used_s = _used_s(self._pid)
        starved = state == "R" and used_s - self._used_s < _WORK_S
        return not starved

    def close(self) -> None:
        """Look no more."""
        if self._page is not None:
            self._page.close()


def _page(path: Path, flags: int) -> mmap.mmap:
    descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC | flags, 0o600)
    try:
        if flags:
            os.ftruncate(descriptor, _SIZE)
        return mmap.mmap(descriptor, _SIZE)
    finally:
        os.close(descriptor)


def _used_s(pid: int) -> tuple[str, float]:
    """A process's state, and the CPU seconds that it has used."""
    try:
        words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return "X", 0.0
    return words[0], (int(words[11]) + int(words[12])) * _TICK_S
