"""One end of the socket of a shared-memory stream: records and descriptors, on the event loop.

A SOCK_SEQPACKET socket keeps records apart, sends each whole or not at all, and tells either side
at once when the other one is gone. Must not know: what records mean, messages.
"""

from __future__ import annotations

import array
import asyncio
import errno
import os
import socket
from collections import deque
from collections.abc import Callable, Sequence
from typing import Protocol

from net.errors import RemoteWireError, TransportError
from net.shared import records
from net.short import Link

_MOST_AT_ONCE = 64
"""Records read before others have their turn in the loop."""
_MOST_SKIPPED = 32
"""Turns of the loop without a look for a second record, where there was none the last time."""
_FDS = socket.CMSG_SPACE(4)
"""Room for one descriptor: what is more, the kernel closes, and says so."""


class Handler(Protocol):
    """What a channel's owner does."""

    def on_record(self, head: records.Head, payload: memoryview) -> None:
        """A record came; `payload` is valid during the call."""
        ...

    def on_memory(self, fd: int) -> None:
        """The record that `expect_memory` waited for; takes the descriptor."""
        ...

    def on_fault(self, error: TransportError) -> None:
        """The peer broke the protocol; a last record may be pushed."""
        ...

    def on_drained(self) -> None:
        """The socket has taken all that was kept for it."""
        ...

    def on_closed(self) -> None:
        """It is over, for whatever reason. Called once."""
        ...


class Channel(Link):
    """Records over a connected socket, which it owns.

    Args:
        sock: Connected, not blocking.
        handler: Whom to tell.
        reading: Whether to begin to read at once.
        readable: Called when there is something to read, instead of `read`.
    """

    def __init__(
        self,
        sock: socket.socket,
        handler: Handler,
        *,
        reading: bool = True,
        readable: Callable[[], None] | None = None,
    ) -> None:
        self._sock = sock
        self._fd = sock.fileno()
        self.free, self.joined, self.last, self.heard = True, False, 0.0, 0
        self._readable = readable or self.read
        self._handler = handler
        self._loop = asyncio.get_running_loop()
        # One byte more than any record has: one that fills it is too long.
        self.memory = bytearray(records.HEAD_BYTES + records.MAX_PAYLOAD + 1)
        self._into = memoryview(self.memory)
        self._memory_next = False
        self._eager = 1
        self._skip = self._skipped = 0
        self._reading = False
        self._unsent: deque[tuple[bytes, int | None]] = deque()
        self._broken = self._reset = False
        self.cause: Exception | None = None
        self.closed = False
        if reading:
            self.resume()

    # reading

    @property
    def reading(self) -> bool:
        """Whether records are taken."""
        return self._reading

    def pause(self) -> None:
        """Take no more records: the kernel holds them, and then the peer, back."""
        if self._reading:
            self._reading = False
            self._loop.remove_reader(self._fd)

    def resume(self) -> None:
        """Take records."""
        if not self._reading and not self.closed:
            self._reading = True
            self._loop.add_reader(self._fd, self._readable)

    def read(self) -> None:
        """Take what is there, or some of it."""
        self._read_some()
        # Nobody may tell us again of a peer that is gone (uvloop doesn't): all of it, now.
        while self._reset and self._reading and self._read_one():
            pass

    def _read_some(self) -> None:
        # A read that finds nothing costs as much as a record: who answers each record with another
        # is asked for one at a time, who sends many gets them read many at a time.
        if self._skipped:
            self._skipped -= 1
            self._read_one()
            return
        for count in range(max(2, self._eager)):
            if not self._reading:
                return
            if not self._read_one():
                self._eager = 1
                if count == 1:
                    self._skipped = self._skip = min(2 * self._skip + 1, _MOST_SKIPPED)
                return
        self._skip = 0
        self._eager = min(2 * self._eager, _MOST_AT_ONCE)

    def expect_memory(self) -> None:
        """The next record brings a descriptor."""
        self._memory_next = True

    def _read_one(self) -> bool:
        """Whether there was a record."""
        try:
            if self._memory_next:
                return self._read_memory()
            length = self._sock.recv_into(self._into)
        except (BlockingIOError, InterruptedError):
            return False
        except ConnectionResetError:
            self._reset = True
            return True  # said once, before what the peer sent while it lived
        except OSError as exc:
            self._lose(exc)
            return False
        if not length:
            self._lose(None)
            return False
        self.take(length)
        return True

    def take(self, length: int) -> None:
        """A record of so many bytes lies in `memory`."""
        try:
            head = records.read_head(self._into, length)
            self._handler.on_record(head, self._into[records.HEAD_BYTES : length])
        except TransportError as exc:
            self._fail(exc)

    def not_read(self, error: int) -> None:
        """Nothing could be read: it is the end, or an error."""
        if error == errno.ECONNRESET:
            self._reset = True  # said once, before what the peer sent while it lived
            self.read()
        else:
            self._lose(OSError(error, os.strerror(error)) if error else None)

    @property
    def expects_memory(self) -> bool:
        """Whether the next record brings a descriptor."""
        return self._memory_next

    def _read_memory(self) -> bool:
        self._memory_next = False
        try:
            length, ancillary, _, _ = self._sock.recvmsg_into(
                [self._into], _FDS, socket.MSG_CMSG_CLOEXEC
            )
        except (BlockingIOError, InterruptedError):
            self._memory_next = True
            raise
        fds = _descriptors(ancillary)
        if not length:
            self._lose(None)
        elif len(fds) != 1 or self._into[: records.HEAD_BYTES] != records.head(records.MEMORY):
            self._fail(RemoteWireError("a region without its memory"))
        else:
            try:
                self._handler.on_memory(fds.pop())
            except TransportError as exc:
                self._fail(exc)
        _close_all(fds)
        return not self.closed

    def read_out(self) -> None:
        """Take all that is there, then close (unless something pauses it meanwhile)."""
        while self._reading and self._read_one():
            pass
        if self._reading:
            self._lose(None)

    # writing

    def push(self, *parts: bytes | memoryview, fd: int | None = None) -> bool:
        """Send a record, or keep it (copied) until the socket takes it.

        Args:
            parts: Of the record, the head first.
            fd: A descriptor to pass; it must stay open until the channel isn't clogged any more.

        Returns:
            Whether it has been sent. If not, push no more than a few before `on_drained`.
        """
        if not self.alive:
            return False
        if not self._unsent:
            if self._send(parts, fd):
                return True
            if self._broken:
                return False
        self._keep(b"".join(parts), fd)
        return False

    def _keep(self, data: bytes, fd: int | None) -> None:
        if not self._unsent:
            self._loop.add_writer(self._fd, self._writable)
        self._unsent.append((data, fd))
        self.free = False

    def unsent(self, data: bytes, sent: int, error: int) -> None:
        """A record that was sent past us the socket didn't take."""
        if error:
            self._break(OSError(error, os.strerror(error)))
        elif self.alive:
            self._keep(data, None)

    def _send(self, parts: Sequence[bytes | memoryview], fd: int | None) -> bool:
        try:
            if fd is not None:
                passed = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [fd]))]
                self._sock.sendmsg(parts, passed, socket.MSG_NOSIGNAL)
            elif len(parts) == 1:
                self._sock.send(parts[0], socket.MSG_NOSIGNAL)
            else:
                self._sock.sendmsg(parts, (), socket.MSG_NOSIGNAL)
        except (BlockingIOError, InterruptedError):
            return False
        except OSError as exc:
            self._break(exc)
            return False
        return True

    def _break(self, exc: OSError) -> None:
        """What the peer said before it went is still to be read: reading finds the end."""
        self._note(exc)
        self._broken, self.free = True, False
        self._unsent.clear()

    def _writable(self) -> None:
        while self._unsent:
            data, fd = self._unsent[0]
            if self._send([data], fd):
                self._unsent.popleft()
            elif not self._broken:
                return
        self._loop.remove_writer(self._fd)
        if not self._broken:
            self.free = True
            self._handler.on_drained()

    @property
    def alive(self) -> bool:
        """Whether it makes sense to push."""
        return not self.closed and not self._broken

    @property
    def clogged(self) -> bool:
        """Whether something waits for the socket."""
        return bool(self._unsent)

    # the end

    def _fail(self, error: TransportError) -> None:
        """No word of the peer's can be trusted any more."""
        self._handler.on_fault(error)
        self._lose(error)

    def close(self) -> None:
        """Close it now. Idempotent."""
        self._lose(None)

    def _note(self, cause: Exception | None) -> None:
        """Without tracebacks, its causes' too: the frames, and their callers', refer to arrays."""
        if self.cause is None and cause is not None:
            self.cause = cause.with_traceback(None)
            cause.__cause__ = cause.__context__ = None

    def _lose(self, cause: Exception | None) -> None:
        if self.closed:
            return
        self._note(cause)
        self.pause()
        self.closed, self.free = True, False
        if self._unsent:
            self._loop.remove_writer(self._fd)
            self._unsent.clear()
        self._sock.close()
        self._handler.on_closed()


def _descriptors(ancillary: list[tuple[int, int, bytes]]) -> list[int]:
    found = array.array("i")
    for level, kind, data in ancillary:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            found.frombytes(data[: len(data) - len(data) % found.itemsize])
    return list(found)


def _close_all(fds: list[int]) -> None:
    while fds:
        os.close(fds.pop())
