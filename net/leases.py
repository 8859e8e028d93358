"""Turns of a GPU that several modules share: `net.lease()`.

    with net.lease():                 # one at a time, by the modules' shares
        loss = step(batch)

    async with net.lease():           # the same for code that awaits
        ...

A module whose topology gives it a share (`gpu = { share = "75%" }`) gets its turns from the
agent's arbiter; where there is none, a lease is granted at once, so the same code runs anywhere.
What is shared is time: what was started on a GPU has to end inside (`torch.cuda.synchronize()`).
Between two turns pass some 50 us, so one should last some milliseconds.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import socket
import threading
import time
from types import TracebackType

_SOCKET = "turns.sock"
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.005, 0.2
_log = logging.getLogger("net.leases")
_idle: list[tuple[int, str, socket.socket]] = []
"""Connections to be used again: pid, path, socket."""
_lock = threading.Lock()


class Lease:
    """One turn at a time of a thing that modules share; use it again and again.

    Args:
        thing: Its name: what modules that share the same GPU call it. At most 32 printable ASCII
            characters.
        path: Of the arbiter's socket; None: this module's own.

    Attributes:
        shared: Whether the last turn was the arbiter's: False where nothing is shared.
        waited_s: How long was waited for it.
        revoked: Turns that were taken away, as they lasted over 10 s while others waited.
    """

    def __init__(self, thing: str = "gpu", path: str | None = None) -> None:
        data = thing.encode("ascii", "replace")
        if not thing.isprintable() or not 0 < len(data) <= 32:
            raise ValueError(f"lease of {thing!r}: 1 to 32 printable characters")
        self._ask = b"a " + data
        self._path = _own() if path is None else path
        self._link: socket.socket | None = None
        self.shared = False
        self.waited_s = 0.0
        self.revoked = 0

    def __enter__(self) -> Lease:
        began, pause = time.monotonic(), _FIRST_PAUSE_S
        while not self._is_free():
            link = self._begun()
            if link is not None:
                link.setblocking(True)
                if self._granted(link):
                    break
            time.sleep(pause)  # the arbiter comes back, or takes its socket away
            pause = min(2 * pause, _LONGEST_PAUSE_S)
        self.waited_s = time.monotonic() - began
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        link, self._link = self._link, None
        if link is None:
            return
        link.setblocking(False)
        try:
            taken = link.recv(8)
        except BlockingIOError:
            taken = None
        except OSError:
            taken = b""
        if taken == b"v":
            self.revoked += 1
            _log.warning("a turn of over 10 s was taken away: others went on beside it")
        elif taken is None:
            try:
                link.send(b"r")
            except OSError:
                taken = b""
        if taken == b"":  # the arbiter has gone, and all turns with it
            link.close()
            return
        _keep(self._path, link)

    async def __aenter__(self) -> Lease:
        loop = asyncio.get_running_loop()
        began, pause = time.monotonic(), _FIRST_PAUSE_S
        while not self._is_free():
            link = self._begun()
            if link is not None:
                link.setblocking(False)
                try:
                    data = await loop.sock_recv(link, 8)
                except OSError:
                    data = b""
                except BaseException:  # cancelled: the request goes with its connection
                    self._lost(link)
                    raise
                if data == b"g":
                    break
                self._lost(link)
            await asyncio.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE_S)
        self.waited_s = time.monotonic() - began
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        self.__exit__(kind, exc, tb)

    def _is_free(self) -> bool:
        """Whether nothing is shared here."""
        if self._link is not None:
            raise RuntimeError("this lease is held already: another task needs one of its own")
        self.shared = bool(self._path) and os.path.exists(self._path)
        return not self.shared

    def _begun(self) -> socket.socket | None:
        """A connection that has asked; None: the arbiter doesn't answer now."""
        while (link := _take(self._path) or _connected(self._path)) is not None:
            try:
                link.send(self._ask)
            except OSError:  # one from before it ended
                link.close()
                continue
            self._link = link
            return link
        return None

    def _granted(self, link: socket.socket) -> bool:
        try:
            if link.recv(8) == b"g":
                return True
        except OSError:
            pass
        except BaseException:  # a signal's: the request goes with its connection
            self._lost(link)
            raise
        self._lost(link)
        return False

    def _lost(self, link: socket.socket) -> None:
        self._link = None
        link.close()


def lease(thing: str = "gpu") -> Lease:
    """A turn of what modules share; see `Lease`."""
    return Lease(thing)


def _own() -> str:
    wiring = os.environ.get("OTTER_WIRING", "")
    return os.path.join(os.path.dirname(wiring), _SOCKET) if wiring else ""


def _connected(path: str) -> socket.socket | None:
    if not path:
        return None
    link = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        link.connect(path)
    except OSError as error:
        link.close()
        if error.errno in (errno.ENOENT, errno.ECONNREFUSED, errno.EAGAIN):
            return None
        raise
    return link


def _take(path: str) -> socket.socket | None:
    """A connection that was used before; not one of the process that this was forked from."""
    with _lock:
        for number, (pid, where, link) in enumerate(_idle):
            if pid == os.getpid() and where == path:
                del _idle[number]
                return link
    return None


def _keep(path: str, link: socket.socket) -> None:
    with _lock:
        _idle.append((os.getpid(), path, link))
