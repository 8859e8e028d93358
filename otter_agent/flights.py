"""Calls that are under way, by name: who asks meanwhile shares the answer. Must not know: what for.

first caller   ask ───────────► answer
the others       join ···wait···► the same answer, or the same error
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Flights(Generic[T]):
    """One call per name at a time. Nothing is kept of a call that has ended."""

    def __init__(self) -> None:
        self._flying: dict[str, asyncio.Future[T]] = {}

    async def join(self, name: str, call: Callable[[], Awaitable[T]]) -> T:
        """The result of the call of that name that is under way, or else of `call`.

        Cancellation of the caller whose call it is: one of the others makes its own.
        """
        while (flying := self._flying.get(name)) is not None:
            await asyncio.wait((flying,))
            if not flying.cancelled():
                return flying.result()
        self._flying[name] = flying = asyncio.get_running_loop().create_future()
        try:
            result = await call()
        except Exception as error:
            flying.set_exception(error)
            flying.exception()  # nobody may have joined: it is raised here anyway
            raise
        else:
            flying.set_result(result)
            return result
        finally:
            flying.cancel()  # without effect if it has its result
            del self._flying[name]
