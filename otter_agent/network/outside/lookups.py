"""Questions to the machine's name servers: one after the other, until one answers.

If none does, each asker hears "server failure" at once, and nobody waits for a time-out.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable

from otter_agent.network.outside import resolver
from otter_agent.network.outside.flows import Flow

PATIENCE_S = 1.5
"""A name server has this long before the next is asked; askers themselves wait for two."""
_MOST_QUESTIONS = 64
_ID_BYTES = 2


class Lookup(Flow):
    """What one socket of a module asks: several questions at once, told apart by their numbers.

    Args:
        loop: The running loop.
        inner: Connected to the asker.
        servers: The name servers.
        open_: A socket connected to a server; None: there is no way there.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        inner: socket.socket,
        servers: list[str],
        open_: Callable[[tuple[str, int]], socket.socket | None],
    ) -> None:
        self._servers, self._open = list(servers), open_
        self._questions: dict[bytes, bytes] = {}
        self._timer: asyncio.TimerHandle | None = None
        # Without any server the questions go nowhere, and are answered here.
        outer = self._next_server() or socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        outer.setblocking(False)
        super().__init__(loop, inner, outer)

    def send(self, data: bytes) -> None:
        """Ask; a question that is repeated takes its earlier self's place."""
        if len(self._questions) < _MOST_QUESTIONS:
            self._questions[data[:_ID_BYTES]] = data
        if self._timer is None:
            self._timer = self.loop.call_later(PATIENCE_S, self._late)
        super().send(data)

    def deliver(self, data: bytes) -> None:
        """Hand an answer on."""
        self._questions.pop(data[:_ID_BYTES], None)
        if not self._questions:
            self._stop_timer()
        super().deliver(data)

    def failed(self) -> None:
        """The server isn't there, or silent: ask the next what is unanswered."""
        self._stop_timer()
        outer = self._next_server()
        questions = list(self._questions.values())
        self._questions.clear()
        if outer is not None:
            self.redirect(outer)
            for query in questions:
                self.send(query)
            return
        for query in questions:
            answer = resolver.failure(query)
            if answer is not None:
                super().deliver(answer)

    def _late(self) -> None:
        self._timer = None
        if self._servers:
            self.failed()

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _next_server(self) -> socket.socket | None:
        while self._servers:
            made = self._open((self._servers.pop(0), resolver.PORT))
            if made is not None:
                return made
        return None

    def close(self) -> None:
        """End it."""
        self._stop_timer()
        super().close()
