"""A thread in which a module computes, always the same one: for its model, beside the event loop.

`asyncio.to_thread` takes whichever thread of a pool is free, or begins another. A model's first run
in each of them is slow again (by 4 to 10 %, as measured): frameworks and malloc keep memory for the
thread that used it. Must not know: messages, any framework.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


class OneThread:
    """Runs what it is given in one thread, in the order in which it was asked.

    Load the model in it, too. The thread begins with the first call, and ends with the process or
    when nobody has this any more.

    Args:
        name: Of the thread, as debuggers show it.

    Example:
        >>> compute = OneThread()
        >>> model = await compute(load_model, mesh.models)
        >>> answer = await compute(model, question.value)
    """

    def __init__(self, name: str = "model") -> None:
        self._pool = ThreadPoolExecutor(1, name)

    async def __call__(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """What `work` returns, or raises, as with `asyncio.to_thread`.

        Cancellation: what hasn't begun doesn't; what has goes on to its end, and is dropped.
        """
        context = contextvars.copy_context()
        call = partial(context.run, work, *args, **kwargs)
        return await asyncio.get_running_loop().run_in_executor(self._pool, call)
