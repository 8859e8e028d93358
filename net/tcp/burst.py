"""Small messages that follow each other closely go to the kernel together.

One alone goes at once: waiting would cost it a turn of the loop. Must not know: messages.
"""

from __future__ import annotations

from net.tcp.connection import Connection

CLOSE_S = 20e-6
"""Messages that follow each other faster than this are a burst."""
MOST_BYTES = 64 * 1024


class Burst:
    """What was said and waits for the end of this turn of the loop.

    Args:
        connection: Where it goes.
    """

    def __init__(self, connection: Connection) -> None:
        self.connection, self.post = connection, connection.post
        self.parts: list[bytes] = []
        self._nbytes = 0

    @property
    def congested(self) -> bool:
        """Whether the kernel hasn't taken all that was said, or takes nothing any more."""
        return not self.connection.free

    @property
    def alive(self) -> bool:
        """Whether it makes sense to say anything."""
        return self.connection.alive

    async def drained(self) -> None:
        """Wait until the kernel has taken all that was said. Raises `ConnectionClosed`."""
        await self.connection.flush()

    def add(self, data: bytes, now: float) -> None:
        """Say `data`, now or with others."""
        link = self.connection
        last, link.last = link.last, now
        if self.parts or 0.0 <= now - last < CLOSE_S:  # a clock may step back
            self.join(data)
        else:
            self.post(data)

    def join(self, data: bytes) -> None:
        """Say `data` with others."""
        if not self.parts:
            self.connection.joined = True
            self.connection.loop.call_soon(self.flush)
        self.parts.append(data)
        self._nbytes += len(data)
        if self._nbytes >= MOST_BYTES:
            self.flush()

    def flush(self) -> None:
        """Say what waits."""
        if self.parts:
            data = b"".join(self.parts)
            self.parts.clear()
            self.connection.joined = False
            self._nbytes = 0
            self.post(data)
