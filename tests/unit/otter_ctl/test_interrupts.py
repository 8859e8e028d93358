"""Ctrl-C: the first ends a verb's work, the second everything, and neither shows a traceback."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from otter_ctl.cli import common, dev

TURNS = 5
"""Of the loop, in which it has surely called the handler of a signal that came before."""


@pytest.fixture(autouse=True)
def _handler():
    """The verb leaves SIGINT without effect, since its process ends; this one goes on."""
    before = signal.getsignal(signal.SIGINT)
    yield
    signal.signal(signal.SIGINT, before)


async def _work(*, ended: bool, presses: int, late: bool = False) -> str:
    """A verb that ends its work at the first Ctrl-C, and takes forever to clean up after it."""
    stop, cleaned = asyncio.Event(), asyncio.Event()
    if ended:
        stop.set()
    with dev._signals(stop):
        for _ in range(presses):
            os.kill(os.getpid(), signal.SIGINT)
            for _ in range(TURNS):
                await asyncio.sleep(0)
        if presses > 1:
            await cleaned.wait()
    if late:
        os.kill(os.getpid(), signal.SIGINT)
        await asyncio.sleep(0)
    return "ended in order"


@pytest.mark.parametrize("ended", [False, True])
def test_one_press_ends_in_order(ended):
    """Also one that comes while it ends by itself: its mesh was destroyed, say."""
    assert common.run(_work(ended=ended, presses=1)) == "ended in order"


def test_one_that_comes_when_all_is_done_changes_nothing():
    """Not the exit status either: that it was interrupted would be wrong."""
    try:
        assert common.run(_work(ended=True, presses=0, late=True)) == "ended in order"
        os.kill(os.getpid(), signal.SIGINT)  # while the loop is closed, and after
    except KeyboardInterrupt:
        pytest.fail("it was interrupted")


def test_there_is_no_moment_in_between_in_which_it_interrupts(monkeypatch):
    """Nor where another thread hears it: a mask is one thread's."""
    set_handler, done = signal.signal, threading.Event()

    def pressed_then(number, handler):
        before = set_handler(number, handler)
        if (number, handler) == (signal.SIGINT, signal.default_int_handler):
            os.kill(os.getpid(), number)
            while number in signal.sigpending():  # until the other thread has taken it
                time.sleep(0.001)
        return before

    async def work():
        with dev._signals(asyncio.Event()):
            monkeypatch.setattr(signal, "signal", pressed_then)
        monkeypatch.undo()
        return "ended in order"

    with ThreadPoolExecutor() as pool:
        pool.submit(done.wait)
        try:
            assert common.run(work()) == "ended in order"
        except KeyboardInterrupt:
            pytest.fail("it was interrupted")
        finally:
            done.set()


def test_two_presses_interrupt():
    with pytest.raises(KeyboardInterrupt) as raised:
        common.run(_work(ended=False, presses=2))
    assert raised.value.__suppress_context__
