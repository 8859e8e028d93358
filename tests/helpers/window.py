"""A terminal of the test's own, with a program in it: what a user at a keyboard sees."""

from __future__ import annotations

import fcntl
import os
import re
import select
import signal
import struct
import subprocess
import termios
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

DEADLINE_S = 60.0


class Window:
    """A pseudo-terminal; the program in it has it as its controlling one.

    Args:
        command: The program.
        env: Its variables.
        rows: Height in characters.
        columns: Width in characters.
    """

    def __init__(
        self, command: Sequence[object], env: Mapping[str, str], rows: int = 31, columns: int = 97
    ) -> None:
        self._master, self._slave = os.openpty()
        self.resize(rows, columns)
        self.before = termios.tcgetattr(self._slave)
        self.shown = b""
        self.program = subprocess.Popen(
            [*map(str, command)], stdin=self._slave, stdout=self._slave, stderr=self._slave,
            env={**env, "TERM": "xterm-256color"}, start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )  # fmt: skip

    def __enter__(self) -> Window:
        return self

    def __exit__(self, *_: object) -> None:
        if self.program.poll() is None:
            self.program.send_signal(signal.SIGKILL)
        self.program.wait(DEADLINE_S)
        os.close(self._master)
        os.close(self._slave)

    def type(self, keys: bytes) -> None:
        """Press keys."""
        os.write(self._master, keys)

    def resize(self, rows: int, columns: int) -> None:
        """Pull at the window's corner: the kernel tells who is in its foreground."""
        size = struct.pack("HHHH", rows, columns, 0, 0)
        fcntl.ioctl(self._master, termios.TIOCSWINSZ, size)

    def shows(self, pattern: bytes, within_s: float = DEADLINE_S) -> re.Match[bytes]:
        """Read until a pattern is on the screen."""
        deadline = time.monotonic() + within_s
        while not (found := re.search(pattern, self.shown)):
            left = deadline - time.monotonic()
            assert left > 0, f"never {pattern!r}: {self.shown!r}"
            self._read(left)
        return found

    def ends(self, within_s: float = DEADLINE_S) -> int:
        """Read on until the program ends; its exit status."""
        deadline = time.monotonic() + within_s
        while self.program.poll() is None:
            assert time.monotonic() < deadline, f"it goes on: {self.shown!r}"
            self._read(0.05)
        while self._read(0.0):
            pass
        return self.program.returncode

    @property
    def restored(self) -> bool:
        """Whether the terminal is as it was before."""
        return termios.tcgetattr(self._slave) == self.before

    @property
    def raw(self) -> bool:
        """Whether keys go to the program one by one, Ctrl-C too."""
        return not termios.tcgetattr(self._slave)[3] & (
            termios.ICANON | termios.ISIG | termios.ECHO
        )

    def _read(self, within_s: float) -> bytes:
        ready, _, _ = select.select([self._master], [], [], within_s)
        data = os.read(self._master, 65536) if ready else b""
        self.shown += data
        return data


def installed(name: str) -> Path:
    """A command of this installation."""
    import sys

    return Path(sys.executable).parent / name
