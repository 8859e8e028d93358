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
        self._connection, self._post = connection, connection.post
        self._parts: list[bytes] = []
        self._nbytes = 0
        self._last = 0.0

    @property
    def congested(self) -> bool:
        """Whether the kernel hasn't taken all that was said, or takes nothing any more."""
        connection = self._connection
        return connection.congested or not connection.alive

    @property
    def alive(self) -> bool:
        """Whether it makes sense to say anything."""
        return self._connection.alive

    async def drained(self) -> None:
        """Wait until the kernel has taken all that was said. Raises `ConnectionClosed`."""
        await self._connection.flush()

    def add(self, data: bytes, now: float) -> None:
        """Say `data`, now or with others."""
        if 0.0 <= now - self._last < CLOSE_S:  # a clock may step back
            if not self._parts:
                self._connection.loop.call_soon(self.flush)
            self._parts.append(data)
            self._nbytes += len(data)
            if self._nbytes >= MOST_BYTES:
                self.flush()
        else:
            if self._parts:
                self.flush()
            self._post(data)
        self._last = now

    def flush(self) -> None:
        """Say what waits."""
        if self._parts:
            data = b"".join(self._parts)
            self._parts.clear()
            self._nbytes = 0
            self._post(data)
