"""Where a module waits for its streams through shared memory: a socket for each of them.

A socket lies in a folder that nobody but the stream's two modules can reach: who comes in there is
the sender. Must not know: modules, wiring.
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from net.errors import TransportError
from net.hears import Hears
from net.inbox import Inbox
from net.rubbish import Rubbish
from net.shared.places import Place
from net.shared.receiver import SharedReceiver
from net.shared.regions import MEMORY_BYTES
from net.timing import Timing
from net.wire import MAX_MESSAGE_BYTES

_MOST_STRANGERS = 16
"""Connections that haven't said who they are; more are closed at once."""
_BREATH_S = 0.5
"""How long nobody is let in after the machine or the process had no descriptor left."""


@dataclass(frozen=True, slots=True)
class Door:
    """One stream's way in.

    Attributes:
        path: Where its socket is.
        inbox: Where its messages go.
        stream: The only stream that may come here; empty: any.
        copies: Whether its arrays are copied, and so writable and the module's own.
    """

    path: str
    inbox: Inbox
    stream: str = ""
    copies: bool = False


class SharedListener(Hears):
    """Serves streams through shared memory. Use with `async with`, or `open` and `aclose`.

    Args:
        doors: One per stream.
        limit_bytes: Largest message that is accepted.
        memory_bytes: Most shared memory that is mapped, per stream.
        timing: Grace periods.
        clock: Seconds since 1970.

    Attributes:
        rubbish: What came and was refused.
    """

    def __init__(
        self,
        doors: Iterable[Door],
        *,
        limit_bytes: int = MAX_MESSAGE_BYTES,
        memory_bytes: int = MEMORY_BYTES,
        timing: Timing | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._doors = tuple(doors)
        self.inputs = {door.inbox.name: door.inbox for door in self._doors}
        self.receivers: set[SharedReceiver] = set()
        self.limit_bytes, self.memory_bytes = limit_bytes, memory_bytes
        self.timing = timing or Timing()
        self.clock = clock
        self.rubbish = Rubbish("shm")
        self._open: dict[Door, Place] = {}

    async def open(self) -> None:
        """Start to listen.

        Raises:
            TransportError: The folder isn't there, or nothing can be written to it.
        """
        for door in self._doors:
            try:
                place = Place(door.path)
            except OSError as exc:
                await self.aclose()
                why = exc.strerror or str(exc)
                raise TransportError(f"{door.path}: can't listen: {why}") from exc
            self._open[door] = place
            self._watch(door)

    def _watch(self, door: Door) -> None:
        place = self._open.get(door)
        if place is not None:
            loop = asyncio.get_running_loop()
            loop.add_reader(place.sock, self._let_in, door, place.sock)

    def _let_in(self, door: Door, listening: socket.socket) -> None:
        try:
            sock, _ = listening.accept()
        except (BlockingIOError, InterruptedError, ConnectionAbortedError):
            return
        except OSError:
            loop = asyncio.get_running_loop()
            loop.remove_reader(listening)
            loop.call_later(_BREATH_S, self._watch, door)
            return
        if sum(receiver.stranger for receiver in self.receivers) >= _MOST_STRANGERS:
            sock.close()
            return
        sock.setblocking(False)
        self.receivers.add(SharedReceiver(self, door, sock))

    async def aclose(self) -> None:
        """Stop listening, and cut what is connected. Idempotent."""
        while self._open:
            _, place = self._open.popitem()
            asyncio.get_running_loop().remove_reader(place.sock)
            place.close()
        for receiver in list(self.receivers):
            receiver.close()
