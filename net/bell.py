"""A bell: whoever waits when it rings is woken, and looks for itself what has changed.

Must not know: what it is rung for.
"""

from __future__ import annotations

import asyncio


class Bell:
    """Costs nothing while nobody waits."""

    def __init__(self) -> None:
        self._next: asyncio.Future[None] | None = None

    def next(self) -> asyncio.Future[None]:
        """Done when it rings next; not to be cancelled: others have it, too."""
        if self._next is None:
            self._next = asyncio.get_running_loop().create_future()
        return self._next

    async def wait(self) -> None:
        """Wait until it rings."""
        await asyncio.shield(self.next())

    @property
    def heard(self) -> bool:
        """Whether somebody waits."""
        return self._next is not None

    def ring(self) -> None:
        """Wake all who wait."""
        if self._next is not None:
            waiting, self._next = self._next, None
            if not waiting.done():
                waiting.set_result(None)
