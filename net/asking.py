"""A module's connections to the arbiter of turns, each with a turn, a request, or neither.

A turn that ends is kept: the next one of the same thing begins without a word to anybody, unless
somebody else has come to want it meanwhile (`net/turns.py`). Datagrams of a SOCK_SEQPACKET
connection: `a NAME` asks for a turn; `g` grants it, the first time with what it is kept by; who
has nothing to keep it by gives it back by `r`, and is told by `v` that it was taken away.
"""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import threading
import time
import weakref
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from net.turns import Kept

NOTHING, REVOKED = 0, 2
"""Of `net/turns.py`, which needs Linux."""
_LOOK_S = 0.02
"""Whether the arbiter is still there is looked for no more often: a successor takes longer."""
_MOST_IDLE = 16
"""Connections, whatever they are for; then one that was for another thing is used."""
_LONGEST = 8
_KEPT_BY = 2
_idle: list[Link] = []
"""To be used again; the one used last is at the end."""
_all: weakref.WeakSet[Link] = weakref.WeakSet()
_lock = threading.Lock()


class Link:
    """One connection.

    Attributes:
        has: Whether it has its turn; else it has asked for one.
        revoked: Whether a turn was taken away: it is of no use any more.
    """

    def __init__(self, path: str, connection: socket.socket) -> None:
        self.pid = os.getpid()
        self.path = path
        self.thing = b""
        self.has = False
        self.revoked = False
        self._socket = connection
        self._kept: Kept | None = None
        self._seen_s = time.monotonic()
        _all.add(self)

    def begin(self, thing: bytes) -> bool:
        """Have the turn that was kept, or ask for one; False: the connection has ended."""
        try:
            self.has = self._goes_on(thing)
            if not self.has:
                self.thing = thing
                self._socket.send(b"a " + thing)
        except OSError:
            return False
        return True

    def granted(self) -> bool:
        """Wait until what was asked for is granted; False: it won't be."""
        self._socket.setblocking(True)
        try:
            return self._is_grant(self._heard())
        except OSError:
            return False

    async def granted_later(self) -> bool:
        """The same for code that awaits."""
        self._socket.setblocking(False)
        while True:
            try:
                return self._is_grant(self._heard())
            except BlockingIOError:
                await _readable(self._socket)
            except OSError:
                return False

    def end(self) -> bool:
        """The turn ends; False: so does the connection."""
        if self.pid != os.getpid():  # it is the process's that this was forked from
            return False
        try:
            if self._kept is None:
                self._listen()
                self._socket.send(b"r")
                return True
            self._kept.ended(time.monotonic_ns())
        except OSError:
            return False
        self.revoked = self._kept.said == REVOKED
        return not self.revoked

    def close(self) -> None:
        """What it has or asks for goes with it."""
        self._socket.close()
        if self._kept is not None:
            self._kept.close()

    def _goes_on(self, thing: bytes) -> bool:
        """Whether it has the turn that was kept. Raises `OSError`: the arbiter has gone."""
        kept = self._kept
        if kept is None or thing != self.thing:
            return False
        if kept.said == REVOKED:
            self.revoked = True
            raise ConnectionError("its last turn was taken away")
        now = time.monotonic()
        if now - self._seen_s > _LOOK_S:
            self._listen()
            self._seen_s = now
        if kept.said != NOTHING or not kept.again():
            return False
        kept.began(time.monotonic_ns())
        return True

    def _is_grant(self, said: bytes) -> bool:
        self.has = said == b"g"
        if self.has and self._kept is not None:
            self._kept.began(time.monotonic_ns())
        return self.has

    def _listen(self) -> None:
        """Raises `OSError` if the arbiter has gone, or has taken the turn away."""
        with suppress(BlockingIOError):
            self.revoked = self._socket.recv(_LONGEST, socket.MSG_DONTWAIT) == b"v"
            raise ConnectionError("the arbiter of turns has hung up")

    def _heard(self) -> bytes:
        """One word; with what turns are kept by, if that comes with it."""
        if self._kept is not None:
            return self._socket.recv(_LONGEST)
        said, descriptors, _, _ = socket.recv_fds(
            self._socket, _LONGEST, _KEPT_BY, socket.MSG_CMSG_CLOEXEC
        )
        if descriptors:
            self._kept = _kept(descriptors)
        return said


def link(path: str, thing: bytes) -> Link | None:
    """A connection that was used before, for the same if possible, or another; None: no arbiter."""
    with _lock:
        mine = [one for one in reversed(_idle) if one.path == path and one.pid == os.getpid()]
        same = [one for one in mine if one.thing == thing] or mine[_MOST_IDLE:]
        if same:
            _idle.remove(same[0])
            return same[0]
    return _connected(path)


def is_used(path: str) -> bool:
    """Whether there are connections there that aren't used now."""
    return any(one.path == path for one in _idle)


def keep(made: Link) -> None:
    """For the next who asks."""
    with _lock:
        others = [one for one in _idle if one.path != made.path]
        for gone in [one for one in others if not os.path.exists(one.path)]:
            _idle.remove(gone)
            gone.close()
        _idle.append(made)


def _connected(path: str) -> Link | None:
    if not path:
        return None
    made = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        made.connect(path)
    except OSError as error:
        made.close()
        if error.errno in (errno.ENOENT, errno.ECONNREFUSED, errno.EAGAIN):
            return None
        raise
    return Link(path, made)


def _kept(descriptors: list[int]) -> Kept | None:
    """None: there is no memory for it, or it isn't all that belongs to it."""
    from net.turns import kept

    token, *pages = descriptors
    try:
        if pages:
            return kept(token, pages[0])
        os.close(token)
    except (OSError, ValueError):
        pass
    finally:
        for page in pages:
            os.close(page)
    return None


async def _readable(connection: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    there: asyncio.Future[None] = loop.create_future()

    def come() -> None:
        if not there.done():
            there.set_result(None)

    loop.add_reader(connection, come)
    try:
        await there
    finally:
        loop.remove_reader(connection)


def _forked() -> None:
    """A child would hold turns of a parent that was killed: its connections are closed in it."""
    global _lock
    _lock = threading.Lock()
    _idle.clear()
    for one in list(_all):
        with suppress(OSError):
            one.close()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)
