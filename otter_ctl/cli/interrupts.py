"""Signals heard on the event loop, wherever the system has them; Windows has SIGINT alone.

Must not know: verbs.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import FrameType

ENDS = ("SIGTERM", "SIGHUP")
"""Asks a program to end, besides Ctrl-C."""
_LEFT = (signal.SIG_IGN, None)
"""Handlers that stay: what is ignored, and what isn't Python's."""


@contextmanager
def heard(handlers: Mapping[str, Callable[[], object]]) -> Iterator[None]:
    """Call these on the loop for the length of the block; as it was before, then.

    Args:
        handlers: Name of a signal -> what to do; of those that the system hasn't, nothing comes.
    """
    loop = asyncio.get_running_loop()
    there = {getattr(signal, n): h for n, h in handlers.items() if hasattr(signal, n)}
    before = {}
    for number, handler in there.items():
        try:
            loop.add_signal_handler(number, handler)
        except NotImplementedError:  # the loop of Windows
            before[number] = signal.signal(number, soon(loop, handler))
    try:
        yield
    finally:
        for number in there:
            if number in before:
                signal.signal(number, before[number])
            else:
                loop.remove_signal_handler(number)


@contextmanager
def as_ctrl_c() -> Iterator[None]:
    """What asks a program to end does for the length of the block what Ctrl-C does.

    But for what is ignored, as `nohup` has it.
    """
    there = [getattr(signal, name) for name in ENDS if hasattr(signal, name)]
    before = {one: signal.getsignal(one) for one in there}
    before = {one: handler for one, handler in before.items() if handler not in _LEFT}
    for number in before:
        signal.signal(number, _interrupted)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _interrupted(number: int, frame: FrameType | None) -> None:
    """Also where Ctrl-C itself is ignored, as of what a shell has in its background."""
    handler = signal.getsignal(signal.SIGINT)
    if not callable(handler):
        raise KeyboardInterrupt
    handler(number, frame)


def soon(
    loop: asyncio.AbstractEventLoop, handler: Callable[[], object]
) -> Callable[[int, FrameType | None], None]:
    """A handler for `signal.signal` that has this called on the loop."""

    def heard_by_python(number: int, frame: FrameType | None) -> None:
        loop.call_soon_threadsafe(handler)

    return heard_by_python
