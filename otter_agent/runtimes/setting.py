"""How a command runs in a module: its variables, folder, user, and its terminal if it has one.

Must not know: runtimes, sockets.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field

DEFAULT_SIZE = (24, 80)


class Terminal:
    """A window that a command is shown in: its size now, and news of it.

    Args:
        rows: Height in characters.
        columns: Width in characters.
    """

    def __init__(self, rows: int = DEFAULT_SIZE[0], columns: int = DEFAULT_SIZE[1]) -> None:
        self.size = (rows, columns)
        self._changed = asyncio.Event()

    def resize(self, rows: int, columns: int) -> None:
        """The window has another size now."""
        self.size = (rows, columns)
        self._changed.set()

    async def sizes(self) -> AsyncIterator[tuple[int, int]]:
        """The size, then each later one; those that came and went meanwhile are left out."""
        while True:
            self._changed.clear()
            yield self.size
            await self._changed.wait()


@dataclass(frozen=True, slots=True)
class Setting:
    """What differs from the module's own way to run.

    Attributes:
        env: Variables besides the module's.
        cwd: Absolute folder inside the module; "" for its own.
        user: `NAME`, `UID` or `USER:GROUP`; "" for the module's own.
        terminal: None: stdout and stderr stay apart, and there is no job control.
    """

    env: Mapping[str, str] = field(default_factory=dict)
    cwd: str = ""
    user: str = ""
    terminal: Terminal | None = None


PLAIN = Setting()
