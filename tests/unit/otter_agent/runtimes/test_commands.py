"""What a command had printed arrives, however slow its taker is; its children hold up nobody."""

from __future__ import annotations

import asyncio
import contextlib
import os

import pytest

from otter_agent.runtimes import commands
from otter_agent.runtimes.setting import Terminal

ROUNDS = 10
"""Of looks after a command's end, in which its taker takes nothing."""


@pytest.fixture(autouse=True)
def short_looks(monkeypatch):
    monkeypatch.setattr(commands, "DRAIN_S", 0.01)


def ends():
    """Who is waited for in vain is told of by the test's name, not by pytest's limit."""
    return asyncio.timeout(60)


class Taker:
    """Takes a piece, and then nothing for long."""

    def __init__(self):
        self.data = b""

    async def __call__(self, number, data):
        await asyncio.sleep(ROUNDS * commands.DRAIN_S)
        self.data += data


def printing(fds, size):
    """Prints in a thread, as a process does, and lets go of all that it had."""
    for begin in range(0, size, 1000):
        data = b"x" * min(1000, size - begin)
        while data:
            data = data[os.write(fds[1], data) :]
    for fd in fds:
        os.close(fd)


@pytest.mark.parametrize("in_terminal", [False, True])
@pytest.mark.parametrize("size", [1, 300_000])
async def test_all_of_it_arrives_at_a_slow_taker(in_terminal, size):
    taker = Taker()

    async def start(fds):
        await asyncio.to_thread(printing, fds, size)
        return 7

    if in_terminal:
        status = await commands.run_in_terminal(start, None, taker, Terminal())
    else:
        status = await commands.run_command(start, None, taker)
    assert (status, len(taker.data)) == (7, size)


@pytest.mark.parametrize("in_terminal", [False, True])
async def test_a_child_that_prints_on_and_on_holds_up_nobody(in_terminal):
    """Not even while the taker is slow, so that there is always more."""
    taker = Taker()
    with contextlib.ExitStack() as stack:

        async def start(fds):
            child = os.dup(fds[1])
            stack.callback(os.close, child)
            os.set_blocking(child, False)
            loop = asyncio.get_running_loop()

            def prints_on():
                with contextlib.suppress(OSError):
                    os.write(child, b"x" * 1000)

            loop.add_writer(child, prints_on)
            stack.callback(loop.remove_writer, child)
            for fd in fds:
                os.close(fd)
            return 7

        async with ends():
            if in_terminal:
                assert await commands.run_in_terminal(start, None, taker, Terminal()) == 7
            else:
                assert await commands.run_command(start, None, taker) == 7


async def test_a_child_that_prints_nothing_is_not_waited_for():
    taker = Taker()
    with contextlib.ExitStack() as stack:

        async def start(fds):
            stack.callback(os.close, os.dup(fds[1]))
            await asyncio.to_thread(printing, fds, 5)
            return 0

        async with ends():
            assert await commands.run_command(start, None, taker) == 0
    assert taker.data == b"x" * 5
