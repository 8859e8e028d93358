"""What all receiving ends have in common: `async with`, and what an error in it means.

Must not know: how messages travel, who sends.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from types import TracebackType
from typing import Self

from net.inbox import Inbox
from net.rubbish import Rubbish


class Hears(ABC):
    """A receiving end.

    Attributes:
        inputs: Name -> `Inbox`.
        rubbish: What came and was refused.
    """

    inputs: dict[str, Inbox]
    rubbish: Rubbish

    @abstractmethod
    async def open(self) -> None:
        """Start to listen."""

    @abstractmethod
    async def aclose(self) -> None:
        """Stop listening, and end all inputs. Idempotent."""

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """After an error what was at work isn't acknowledged: its sender sends it again."""
        if error is not None:
            for inbox in self.inputs.values():
                inbox.abandon()
        await self.aclose()
