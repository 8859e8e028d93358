"""Asks several agents the same at once. One machine's trouble never hides another's.

Must not know: what is asked, how machines are reached.
"""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, aclosing
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from net.errors import OtterError
from otter_ctl.errors import MachinesError

A = TypeVar("A")
T = TypeVar("T")
_WAITING = 1000
"""Items that nobody has taken yet, of all streams together: then they wait."""


@dataclass(slots=True)
class Answers(Generic[T]):
    """What came of it, by machine."""

    good: dict[str, T] = field(default_factory=dict)
    failed: dict[str, OtterError] = field(default_factory=dict)

    def all(self) -> dict[str, T]:
        """The answers, if all answered.

        Raises:
            OtterError: The only one that failed, or `MachinesError` with all that did.
        """
        if self.failed:
            raise together(self.failed)
        return self.good


def together(failed: Mapping[str, OtterError]) -> OtterError:
    """One error of those of several machines."""
    errors = [failed[name] for name in sorted(failed)]
    return errors[0] if len(errors) == 1 else MachinesError(errors)


async def each(
    agents: Mapping[str, A],
    ask: Callable[[str, A], Awaitable[T]],
    *,
    at_once: int | None = None,
) -> Answers[T]:
    """Ask all, so many at a time (None: all); an `OtterError` of one is its answer."""
    answers: Answers[T] = Answers()
    turns = asyncio.Semaphore(at_once or max(1, len(agents)))

    async def one(name: str, agent: A) -> None:
        try:
            async with turns:
                answers.good[name] = await ask(name, agent)
        except OtterError as error:
            answers.failed[name] = error

    async with asyncio.TaskGroup() as group:
        for name, agent in agents.items():
            group.create_task(one(name, agent), name=f"machine {name}")
    return answers


async def by_time(
    streams: Sequence[AsyncIterator[T]], moment: Callable[[T], float]
) -> AsyncIterator[T]:
    """Items of streams that are each in order, in order."""
    heap: list[tuple[float, int, Any]] = []
    for number, stream in enumerate(streams):
        async for item in stream:
            heap.append((moment(item), number, item))
            break
    heapq.heapify(heap)
    while heap:
        _, number, item = heap[0]
        yield item
        async for following in streams[number]:
            heapq.heapreplace(heap, (moment(following), number, following))
            break
        else:
            heapq.heappop(heap)


async def as_they_come(
    streams: Mapping[str, AsyncIterator[T]],
) -> AsyncGenerator[tuple[str, T], None]:
    """Items of all streams, each with the name of its stream, until all have ended.

    The first error of one ends all: who wants to go on without it doesn't let it out. Close it
    (`contextlib.aclosing`) in the task that reads it.
    """
    queue: asyncio.Queue[tuple[str, T] | None] = asyncio.Queue(_WAITING)

    async def take(name: str, stream: AsyncIterator[T]) -> None:
        async for item in stream:
            await queue.put((name, item))
        await queue.put(None)

    async with AsyncExitStack() as stack:
        for stream in streams.values():
            await stack.enter_async_context(aclosing(stream))  # type: ignore[type-var]
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(take(*one), name=one[0]) for one in streams.items()]
            try:
                left = len(tasks)
                while left:
                    item = await queue.get()
                    if item is None:
                        left -= 1
                    else:
                        yield item
            except GeneratorExit:
                pass  # nobody reads on; a group would make an error of it
            finally:
                for task in tasks:
                    task.cancel()
