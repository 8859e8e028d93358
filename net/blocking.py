"""Streams for plain scripts, without `async`: the transport runs in a thread of its own.

    import net

    with net.blocking.mesh() as mesh:
        for message in mesh.input("question"):
            mesh.output("answer").send(answer(message.value), reply_to=message)

Everything means what it means in `net.mesh` and `net.stream`, but calls block. Ctrl-C interrupts
any of them, and loses no message. Must not know: how messages travel.
"""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any

from net.entry import mesh_from_environment
from net.errors import ConnectionClosed
from net.hosting import Hosted, handed_over
from net.inbox import DEFAULT_QUEUE, Inbox
from net.messages import Message
from net.ports import Input, Output
from net.records import say
from net.stream import connect as connect_sender
from net.stream import listen as listen_streams
from net.tcp.sender import Sender
from net.thread import LoopThread
from net.timing import Timing
from net.wire import MAX_MESSAGE_BYTES
from net.wiring import WiringError

__all__ = ["BlockingInput", "BlockingListener", "BlockingMesh", "BlockingOutput", "BlockingStream",
           "connect", "listen", "mesh"]  # fmt: skip


class BlockingInput:
    """An input: `for message in input`, or `input.receive()`."""

    def __init__(self, thread: LoopThread, real: Input | Inbox) -> None:
        self._thread, self._real = thread, real
        self._kept: Message | None = None
        self._take_now = real.take_now if isinstance(real, Inbox) else real.receive_now
        self._take = real.take if isinstance(real, Inbox) else real.receive

    @property
    def name(self) -> str:
        """As the topology names it."""
        return self._real.name

    @property
    def by_hand(self) -> bool:
        """Whether only `message.done()` says that a message is done with."""
        return self._real.by_hand

    @by_hand.setter
    def by_hand(self, value: bool) -> None:
        self._real.by_hand = value

    def receive(self, within_s: float | None = None) -> Message:
        """The next message; waits for it.

        Args:
            within_s: So long at the most; None: for ever.

        Raises:
            TimeoutError: None came in that time.
            ConnectionClosed: All its senders have ended.
        """

        async def receive() -> bool:
            async with asyncio.timeout(within_s):
                self._arrived(await self._take())
            return True

        if self._kept is None:  # else one has come at the moment of a Ctrl-C
            self._thread.wait(receive, quick=self._now)
        message, self._kept = self._kept, None
        assert message is not None
        return message

    def give_back(self) -> None:
        """The script leaves: what came for it and it never saw isn't done with. In the thread."""
        if self._kept is not None:
            self._real.abandon()

    def _now(self) -> bool | None:
        message = self._take_now()
        if message is None:
            return None
        self._arrived(message)
        return True

    def _arrived(self, message: Message) -> None:
        self._kept = handed_over(self._thread, message)

    def __iter__(self) -> Iterator[Message]:
        while True:
            try:
                yield self.receive()
            except ConnectionClosed:
                return


class BlockingOutput:
    """An output, and all streams that leave it."""

    def __init__(self, thread: LoopThread, real: Output) -> None:
        self._thread, self._real = thread, real
        self.name = real.name

    def send(
        self,
        value: Any,
        *,
        reply_to: Message | str | None = None,
        within_s: float | None = None,
        key: str | None = None,
    ) -> str:
        """As `net.Output.send`."""
        return self._thread.wait(
            lambda: self._real.send(value, reply_to=reply_to, within_s=within_s, key=key)
        )

    def flush(self) -> None:
        """Wait until the receivers have acknowledged all that was sent."""
        self._thread.wait(self._real.flush)


class _Context:
    """Something asynchronous, open in a thread while the block runs."""

    def __init__(self, make: Callable[[], Any]) -> None:
        self._make = make
        self._real: Any = None

    def _open(self) -> None:
        self._thread = LoopThread().__enter__()
        try:

            async def open_() -> None:
                self._real = self._make()
                self._hosted = Hosted(self._thread, self._real)
                await self._hosted.open()

            self._thread.wait(open_)
        except BaseException:
            self._thread.__exit__(None, None, None)
            raise

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        async def close() -> None:
            for port in self._open_inputs():
                port.give_back()
            await self._hosted.close(error)

        try:
            self._thread.wait(close)
        finally:
            self._thread.__exit__(None, None, None)

    def _open_inputs(self) -> Iterable[BlockingInput]:
        return ()


class BlockingMesh(_Context):
    """A module's connection to its mesh; `mesh()` makes it. Attributes as those of `net.Mesh`."""

    name: str
    module: str
    host: str
    work: Path
    models: Path | None
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]

    def __enter__(self) -> BlockingMesh:
        try:
            self._open()
        except WiringError as exc:
            say(str(exc))
            raise SystemExit(2) from None
        for name in ("name", "module", "host", "work", "models", "inputs", "outputs"):
            setattr(self, name, getattr(self._real, name))
        self._inputs: dict[str, BlockingInput] = {}
        self._former = _exit_at_sigterm()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            super().__exit__(kind, error, trace)
        finally:
            if self._former is not None:
                signal.signal(signal.SIGTERM, self._former)

    def _open_inputs(self) -> Iterable[BlockingInput]:
        return self._inputs.values()

    def input(self, name: str) -> BlockingInput:
        """The input of that name.

        Raises:
            OtterError: No stream leads to it; lists those there are.
        """
        if name not in self._inputs:
            self._inputs[name] = BlockingInput(self._thread, self._real.input(name))
        return self._inputs[name]

    def output(self, name: str) -> BlockingOutput:
        """The output of that name.

        Raises:
            OtterError: No stream leaves from it; lists those there are.
        """
        return BlockingOutput(self._thread, self._real.output(name))

    def ready(self) -> None:
        """Tell the agent that this module can do its work; the first use of an end says it, too."""
        self._thread.wait(self._real.ready)

    def stats(self) -> dict[str, list[dict[str, Any]]]:
        """As `net.Mesh.stats`."""

        async def ask() -> dict[str, list[dict[str, Any]]]:
            found: dict[str, list[dict[str, Any]]] = self._real.stats()
            return found

        return self._thread.wait(ask)


class BlockingStream(_Context):
    """The sending end of a stream; `connect` makes it."""

    def __enter__(self) -> BlockingStream:
        self._open()
        return self

    def send(
        self, value: Any, *, reply_to: str | None = None, within_s: float | None = None
    ) -> str:
        """Send one message; returns its id. As `net.tcp.sender.Sender.send`."""
        sender: Sender = self._real
        return self._thread.wait(lambda: sender.send(value, reply_to=reply_to, within_s=within_s))

    def flush(self) -> None:
        """Wait until the receiver has acknowledged all that was sent."""
        self._thread.wait(self._real.flush)


class BlockingListener(_Context):
    """The receiving end of streams; `listen` makes it.

    Attributes:
        inputs: Name -> input.
        port: Where it listens.
    """

    inputs: dict[str, BlockingInput]
    port: int

    def __enter__(self) -> BlockingListener:
        self._open()
        found = self._real.inputs.items()
        self.inputs = {name: BlockingInput(self._thread, box) for name, box in found}
        self.port = self._real.port
        return self

    def _open_inputs(self) -> Iterable[BlockingInput]:
        return self.inputs.values()


def mesh() -> BlockingMesh:
    """The mesh that this module was started in; use with `with`.

    Without an error its outputs are flushed and ended at the end of the block. SIGTERM ends the
    block with `SystemExit`. Started outside of OTTER the script says so and exits with 2.
    """
    return BlockingMesh(mesh_from_environment)


def connect(
    address: str,
    port: int,
    *,
    input: str,  # noqa: A002 - the field's word
    sender: str,
    stream: str | None = None,
    delivery: str = "at-least-once",
    policy: str = "block",
    queue: int = DEFAULT_QUEUE,
    timing: Timing | None = None,
) -> BlockingStream:
    """As `net.stream.connect`; `with` waits until the receiver is there."""
    options: dict[str, Any] = {
        "input": input, "sender": sender, "stream": stream, "delivery": delivery,
        "policy": policy, "queue": queue, "timing": timing,
    }  # fmt: skip
    return BlockingStream(lambda: connect_sender(address, port, **options))


def listen(
    address: str,
    port: int,
    inputs: Iterable[str],
    *,
    queue: int = DEFAULT_QUEUE,
    policy: str = "block",
    limit_bytes: int = MAX_MESSAGE_BYTES,
    timing: Timing | None = None,
) -> BlockingListener:
    """As `net.stream.listen`."""
    options: dict[str, Any] = {
        "queue": queue, "policy": policy, "limit_bytes": limit_bytes, "timing": timing
    }  # fmt: skip
    names = list(inputs)
    return BlockingListener(lambda: listen_streams(address, port, names, **options))


Handler = Callable[[int, FrameType | None], Any] | int | None


def _exit_at_sigterm() -> Handler:
    """Let SIGTERM end the block; what handled it before. None: nothing was changed."""
    main = threading.current_thread() is threading.main_thread()
    if not main or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        return None

    def leave(number: int, frame: FrameType | None) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)  # a second one ends it at once
        raise SystemExit(128 + number)

    return signal.signal(signal.SIGTERM, leave)
