"""What 64 bytes there and back cost at the least, layer by layer: two processes on one CPU.

    blocking sockets             two system calls an end
    … and epoll                  a third: what any event loop needs
    … and asyncio's loop         a callback that reads and writes, no transport
    … and a task, woken at once  as `net` wakes one: in the turn that read
    … and a task, by a future    as asyncio wakes one: in the next turn

Each is the floor of what is built in that way. Wall-clock time, lowest median of several turns,
all kinds in turn, so that what else the machine does falls on all of them alike.
"""

from __future__ import annotations

import asyncio
import os
import select
import socket
import statistics
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import perf_counter as clock
from typing import Any

from benchmarks.row import Row
from benchmarks.transport.peer import HERE
from net import stream
from net.short import Waiter

VALUE = bytes(range(64))
TURNS, COUNT = 15, 500
Answer = Callable[[int], Any]


class Blocking:
    """An end: asks so many times and tells how long each took, or answers as often."""

    def __init__(self, sock: socket.socket) -> None:
        self._send, self._receive = sock.send, sock.recv
        self._sock = sock
        self.set_up()

    def set_up(self) -> None:
        """What this kind needs."""

    def wait(self) -> None:
        """Until there is something to read."""

    def close(self) -> None:
        """Nothing more is asked."""
        self._sock.close()

    def ask(self, count: int) -> list[float]:
        """Seconds of each round trip."""
        found = []
        for _ in range(count):
            began = clock()
            self._send(VALUE)
            self.wait()
            self._receive(len(VALUE))
            found.append(clock() - began)
        return found

    def answer(self, count: int) -> None:
        """The other end of `ask`."""
        for _ in range(count):
            self.wait()
            self._send(self._receive(len(VALUE)))


class Polling(Blocking):
    """Asks the kernel first."""

    def set_up(self) -> None:
        """Not blocking, watched."""
        self._sock.setblocking(False)
        self._epoll = select.epoll()
        self._epoll.register(self._sock.fileno(), select.EPOLLIN)

    def wait(self) -> None:
        """By epoll."""
        self._epoll.poll(-1)

    def close(self) -> None:
        """The poll, too."""
        self._epoll.close()
        super().close()


class Calling(Blocking):
    """A loop's callback does all."""

    def set_up(self) -> None:
        """A loop of its own."""
        self._sock.setblocking(False)
        self._loop = asyncio.new_event_loop()

    def close(self) -> None:
        """The loop, too."""
        self._loop.close()
        super().close()

    def ask(self, count: int) -> list[float]:
        """As often as there was an answer."""
        return self._loop.run_until_complete(self._turn(count, asks=True))

    def answer(self, count: int) -> None:
        """As often as there was a question."""
        self._loop.run_until_complete(self._turn(count, asks=False))

    async def _turn(self, count: int, *, asks: bool) -> list[float]:
        found: list[float] = []
        began, over = clock(), self._loop.create_future()

        def readable() -> None:
            nonlocal began
            data = self._receive(len(VALUE))
            found.append(clock() - began)
            if len(found) == count:
                over.set_result(None)
            elif asks:
                began = clock()
            if not asks or not over.done():
                self._send(data)

        self._loop.add_reader(self._sock.fileno(), readable)
        if asks:
            self._send(VALUE)
        await over
        self._loop.remove_reader(self._sock.fileno())
        return found


class Waking(Calling):
    """A task asks or answers; the callback wakes it at once."""

    def waiter(self) -> Any:
        """What the task awaits."""
        return Waiter(self._loop)

    def wake(self, waiter: Any) -> None:
        """Let it go on."""
        waiter.wake()

    async def _turn(self, count: int, *, asks: bool) -> list[float]:
        found: list[float] = []
        data, waiter = b"", self.waiter()

        def readable() -> None:
            nonlocal data
            data = self._receive(len(VALUE))
            self.wake(waiter)

        self._loop.add_reader(self._sock.fileno(), readable)
        for _ in range(count):
            began = clock()
            if asks:
                self._send(VALUE)
            waiter = self.waiter()
            await waiter
            found.append(clock() - began)
            if not asks:
                self._send(data)
        self._loop.remove_reader(self._sock.fileno())
        return found


class Scheduling(Waking):
    """A future wakes it in the next turn."""

    def waiter(self) -> Any:
        """A future."""
        return self._loop.create_future()

    def wake(self, waiter: Any) -> None:
        """The loop tells the task."""
        waiter.set_result(None)


class Ours(Calling):
    """`net.stream`, whose loop this end's is."""

    def set_up(self) -> None:
        """Both streams, before the first turn: the socket tells the ports."""
        super().set_up()
        self._sock.setblocking(True)
        self._loop.run_until_complete(self._open())

    async def _open(self) -> None:
        self._listener = stream.listen(HERE, 0, ["in"])
        await self._listener.open()
        self._send(self._listener.port.to_bytes(2))
        port = int.from_bytes(self._receive(2))
        self._out = stream.connect(HERE, port, input="in", sender="end")
        await self._out.open()

    def close(self) -> None:
        """Both streams, too."""
        self._loop.run_until_complete(self._end())
        super().close()

    async def _end(self) -> None:
        self._out.abort()
        await self._out.aclose()
        await self._listener.aclose()

    async def _turn(self, count: int, *, asks: bool) -> list[float]:
        found: list[float] = []
        inbox, out = self._listener.inputs["in"], self._out
        for _ in range(count):
            began = clock()
            if asks:
                await out.send(VALUE)
            message = await anext(inbox)
            found.append(clock() - began)
            if not asks:
                await out.send(message.value, reply_to=message.id)
        return found


KINDS: dict[str, type[Blocking]] = {
    "blocking sockets": Blocking,
    "… and epoll": Polling,
    "… and asyncio's loop": Calling,
    "… and a task, woken at once": Waking,
    "… and a task, by a future": Scheduling,
    "net.stream": Ours,
}


@contextmanager
def _pair(kind: type[Blocking]) -> Iterator[Answer]:
    """Asks so many times in this process; the other end is in one of its own."""
    with socket.create_server((HERE, 0)) as server:
        ours = socket.create_connection(server.getsockname())
        theirs, _ = server.accept()
    for sock in (ours, theirs):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    heard, said = os.pipe()
    child = os.fork()
    if not child:
        ours.close()
        os.close(said)
        end = kind(theirs)
        while os.read(heard, 1):
            end.answer(COUNT)
        os._exit(0)
    theirs.close()
    os.close(heard)
    end = kind(ours)

    def ask(count: int) -> list[float]:
        os.write(said, b".")
        return end.ask(count)

    yield ask
    os.close(said)
    os.waitpid(child, 0)
    end.close()


def rows() -> list[Row]:
    """One for each kind."""
    found: dict[str, list[float]] = {name: [] for name in KINDS}
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(allowed)})
    try:
        _measure(list(KINDS), {}, found)
    finally:
        os.sched_setaffinity(0, allowed)
    return [
        Row(
            name=f"64 B round trip, one CPU: {name}", unit="s", better="lower", ours=min(medians),
            peers={}, limit=None, goal=None, n=TURNS,
        )
        for name, medians in found.items()
    ]  # fmt: skip


def _measure(left: list[str], asks: dict[str, Answer], found: dict[str, list[float]]) -> None:
    """Open them one in the other, then give each its turn, again and again."""
    if left:
        with _pair(KINDS[left[0]]) as ask:
            _measure(left[1:], {**asks, left[0]: ask}, found)
        return
    for _ in range(TURNS):
        for name, ask in asks.items():
            found[name].append(statistics.median(ask(COUNT)))
