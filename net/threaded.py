"""A mesh for `net.run(main, thread=True)`: `main` has its own event loop, the transport another.

The transport's is in a thread of its own, so that acknowledgements, receiving and heartbeats go on
while `main` computes. Each call crosses over and back; nothing is taken from an input before it is
asked for, so queues, policies and acknowledgements mean the same. Must not know: how messages
travel.
"""

from __future__ import annotations

from types import TracebackType
from typing import Any

from net.errors import ConnectionClosed
from net.hosting import Hosted, handed_over
from net.mesh import Mesh
from net.messages import Message
from net.ports import Input, Output
from net.thread import LoopThread


class ThreadedInput(Input):
    """An input whose mesh is in another thread."""

    def __init__(self, thread: LoopThread, real: Input) -> None:
        super().__init__(real._mesh, real._inbox)
        self._thread, self._real = thread, real
        self._kept: Message | None = None

    async def receive(self) -> Message:
        """As `Input.receive`."""
        if self._kept is not None:  # one that came while its taker was cancelled
            message, self._kept = self._kept, None
            return message
        return await self._thread.call(self._receive, quick=self._receive_now, keep=self._keep)

    async def __anext__(self) -> Message:
        try:
            return await self.receive()
        except ConnectionClosed:
            raise StopAsyncIteration from None

    def give_back(self) -> None:
        """The module leaves: what came for it and it never saw isn't done with. In the thread."""
        if self._kept is not None:
            self._real.abandon()

    def receive_now(self) -> Message | None:
        """As `Input.receive_now`."""
        if self._kept is not None:
            message, self._kept = self._kept, None
            return message

        async def nothing() -> Message | None:
            return None

        return self._thread.wait(nothing, quick=self._receive_now, keep=self._keep_if_any)

    async def _receive(self) -> Message:
        message = await self._real.receive()
        handed_over(self._thread, message)
        return message

    def _receive_now(self) -> Message | None:
        return handed_over(self._thread, self._real.receive_now())

    def _keep(self, message: Message) -> None:
        self._kept = message

    def _keep_if_any(self, message: Message | None) -> None:
        self._kept = message


class ThreadedOutput(Output):
    """An output whose mesh is in another thread. Its `empty` gives ordinary memory."""

    def __init__(self, thread: LoopThread, real: Output) -> None:
        super().__init__(real._mesh, real.name, ())
        self._thread, self._real = thread, real

    async def send(
        self,
        value: Any,
        *,
        reply_to: Message | str | None = None,
        within_s: float | None = None,
        key: str | None = None,
    ) -> str:
        """As `Output.send`."""
        return await self._thread.call(
            lambda: self._real.send(value, reply_to=reply_to, within_s=within_s, key=key)
        )

    async def flush(self) -> None:
        """As `Output.flush`."""
        await self._thread.call(self._real.flush)


class ThreadedMesh(Mesh):
    """A mesh as `main` sees it; the real one is in `thread`."""

    def __init__(self, thread: LoopThread, real: Mesh) -> None:
        self.__dict__.update(real.__dict__)
        self._thread, self._real = thread, real
        self._hosted = Hosted(thread, real)
        self._ports = [ThreadedInput(thread, port) for port in real._inputs.values()]
        self._inputs = {port.name: port for port in self._ports}
        self._outputs = {n: ThreadedOutput(thread, port) for n, port in real._outputs.items()}

    async def ready(self) -> None:
        """As `Mesh.ready`."""
        await self._thread.call(self._real.ready)

    def stats(self) -> dict[str, list[dict[str, Any]]]:
        """As `Mesh.stats`."""

        async def ask() -> dict[str, list[dict[str, Any]]]:
            return self._real.stats()

        return self._thread.wait(ask)

    async def __aenter__(self) -> Mesh:
        await self._thread.call(self._hosted.open)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        async def close() -> None:
            for port in self._ports:
                port.give_back()
            await self._hosted.close(error)

        await self._thread.call(close)
