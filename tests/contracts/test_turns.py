"""While short messages go to and fro, whatever else the loop has to do is done in time.

On asyncio's own loop the next message is waited for where the last one was read (in C), past the
loop; not in its debug mode.
"""

import asyncio
import contextlib
import os
import select
import signal
import socket
import threading
import time

import pytest

from net import stream
from net.loops import epoll_of
from net.short import COMPILED

HERE = "127.0.0.1"
EPOLL = hasattr(select, "epoll")
LATE = stream.Timing(ack_s=30.0)
"""No timer of an acknowledgement makes a turn of the loop: many are acknowledged at once."""
pytestmark = pytest.mark.timeout(60)


class Echo(threading.Thread):
    """Another loop, that sends back what comes."""

    def __init__(self):
        super().__init__(daemon=True)
        self.port, self.there = 0, threading.Event()

    def run(self):
        with asyncio.Runner(debug=False) as runner, contextlib.suppress(asyncio.CancelledError):
            runner.run(self.echo())

    async def stop(self):
        with contextlib.suppress(RuntimeError):  # its input has ended, and so has it
            self.loop.call_soon_threadsafe(self.task.cancel)
        await asyncio.to_thread(self.join, 10)
        assert not self.is_alive()

    async def echo(self):
        async with stream.listen(HERE, 0, ["in"], timing=LATE) as listener:
            self.port, self.task = listener.port, asyncio.current_task()
            self.loop = asyncio.get_running_loop()
            self.there.set()
            first = await listener.inputs["in"].take()
            async with stream.connect(HERE, first.value, input="in", sender="echo") as out:
                async for message in listener.inputs["in"]:
                    await out.send(message.value, reply_to=message.id)


@contextlib.asynccontextmanager
async def asking():
    """An `ask` for one round trip."""
    echo = Echo()
    echo.start()
    await asyncio.to_thread(echo.there.wait, 10)
    try:
        async with stream.listen(HERE, 0, ["in"], timing=LATE) as listener:
            inbox = listener.inputs["in"]
            async with stream.connect(HERE, echo.port, input="in", sender="asker") as out:
                await out.send(listener.port)

                async def ask(value=b"x" * 64):
                    sent = await out.send(value)
                    answer = await anext(inbox)
                    assert (answer.value, answer.reply_to) == (value, sent)

                for _ in range(20):
                    await ask()
                yield ask
    finally:
        await echo.stop()


@pytest.fixture
def run():
    with asyncio.Runner(debug=False) as runner:
        yield runner.run


def turns_of(loop):
    """How often the loop has gone around since."""
    count, once = [0], loop._run_once

    def counted():
        count[0] += 1
        once()

    loop._run_once = counted
    return count


@pytest.mark.skipif(not (COMPILED and EPOLL), reason="it is done in C, with epoll")
def test_the_next_message_is_waited_for_where_the_last_was_read(run):
    async def main():
        async with asking() as ask:
            turns = turns_of(asyncio.get_running_loop())
            for _ in range(500):
                await ask()
            return turns[0]

    assert run(main()) < 250  # twice as many otherwise


@pytest.mark.skipif(not EPOLL, reason="it is done with epoll")
def test_a_loop_that_goes_around_in_another_way_is_left_to_it(run, monkeypatch):
    """As nest_asyncio's does, which ends when a future is done that nobody waits for."""

    async def main():
        return epoll_of(asyncio.get_running_loop())

    assert run(main()) >= 0
    once = asyncio.BaseEventLoop._run_once
    monkeypatch.setattr(asyncio.SelectorEventLoop, "_run_once", lambda self: once(self))
    assert run(main()) == -1


@pytest.mark.parametrize("what", ["timer", "thread", "socket", "signal", "task"])
def test_all_else_is_done_meanwhile(run, what):
    async def main():
        async with asking() as ask:
            loop, happened = asyncio.get_running_loop(), asyncio.Event()
            begin = time.monotonic()
            with causing(loop, what, happened.set):
                while not happened.is_set():
                    await ask()
            return time.monotonic() - begin

    assert run(main()) < 5  # at once, or it never comes: the asking would go on for ever


@contextlib.contextmanager
def causing(loop, what, happened):
    """It happens a moment later."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        causes = {
            "thread": lambda: loop.call_soon_threadsafe(happened),
            "socket": lambda: theirs.send(b"x"),
            "signal": lambda: os.kill(os.getpid(), signal.SIGUSR1),
        }
        if what == "timer":
            loop.call_later(0.02, happened)
        elif what == "task":
            loop.call_soon(loop.call_soon, happened)
        else:
            loop.add_reader(ours, happened)
            loop.add_signal_handler(signal.SIGUSR1, happened)
            cause = threading.Timer(0.02, causes[what])
            cause.start()
        yield
        if what not in ("timer", "task"):
            cause.join()
            loop.remove_reader(ours)
            loop.remove_signal_handler(signal.SIGUSR1)


def test_an_interrupt_ends_it(run):
    """Its handler raises, or cancels the task, as in any loop."""

    async def main():
        async with asking() as ask:
            timer = threading.Timer(0.02, os.kill, (os.getpid(), signal.SIGINT))
            timer.start()
            try:
                while True:
                    await ask()
            finally:
                timer.join()

    with pytest.raises(KeyboardInterrupt):
        run(main())


def test_the_loop_can_be_stopped_from_a_message():
    loop = asyncio.new_event_loop()
    loop.set_debug(False)
    asked = []

    async def main():
        async with asking() as ask:
            for number in range(100):
                await ask()
                if number == 50:
                    asked.append(number)
                    loop.stop()

    with pytest.raises(RuntimeError, match="stopped before"):
        loop.run_until_complete(main())
    assert asked
    (task,) = (each for each in asyncio.all_tasks(loop) if each.get_coro().__name__ == "main")
    loop.run_until_complete(task)
    loop.run_until_complete(loop.shutdown_default_executor())
    loop.close()


def test_many_that_come_at_once_are_all_taken(run):
    async def main():
        async with stream.listen(HERE, 0, ["in"]) as listener:
            port = listener.port

            def flood():
                with asyncio.Runner(debug=False) as runner:
                    runner.run(send(port))

            async def send(port):
                async with stream.connect(HERE, port, input="in", sender="flood") as out:
                    for number in range(3000):
                        await out.send(number.to_bytes(2))

            flooding = asyncio.to_thread(flood)
            async with asyncio.TaskGroup() as group:
                group.create_task(flooding)
                inbox = listener.inputs["in"]
                for number in range(3000):
                    assert (await inbox.take()).value == number.to_bytes(2)
            return listener.inputs["in"].edges["flood>in"].stats.messages

    assert run(main()) == 3000
