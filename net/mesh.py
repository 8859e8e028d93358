"""What a module sees of its mesh: named inputs and outputs, its folders, `ready`.

    import net

    async def main(mesh: net.Mesh) -> None:
        async for question in mesh.input("question"):
            answer = await asyncio.to_thread(model, question.value)
            await mesh.output("answer").send(answer, reply_to=question)

    net.run(main)

Must not know: how messages travel (`net.stream`), who wrote the wiring file.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

from net.errors import OtterError, TransportError
from net.listener import Inbox, Listener
from net.messages import Message
from net.ports import Input, Output
from net.records import Records, say, say_ready
from net.stream import Sender, message_ids
from net.timing import Timing
from net.wiring import StreamEnd, Wiring


class Mesh:
    """A module's connection to its mesh. `run` makes it; or use it with `async with`.

    Args:
        wiring: The module's streams.
        state: Folder for `ready` and the message records; None: they are not kept.
        work: The module's work folder.
        models: Folder of prepared model weights, if there is one.
        timing: Retries and grace periods.
        clock: Seconds since 1970.

    Attributes:
        name: The mesh's name.
        module: This module's name.
        host: Name of the host it runs on.
        work: The module's work folder: `files` are there, `outputs` are taken from there.
        models: Folder of prepared model weights, or None.
    """

    def __init__(
        self,
        wiring: Wiring,
        *,
        state: Path | None = None,
        work: Path | None = None,
        models: Path | None = None,
        timing: Timing | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.name, self.module, self.host = wiring.mesh, wiring.module, wiring.host
        self.work = work or Path.cwd()
        self.models = models
        self.clock = clock
        self.ids = message_ids(wiring.module)
        self._state = state
        self._said_ready = False
        self._records = Records(state, wiring.module)
        boxes = {
            name: Inbox(
                name,
                {end.stream: end.queue for end in ends},
                clock=clock,
                sources={end.stream: end.source_address for end in ends},
            )
            for name, ends in _by_name(wiring.inputs).items()
        }
        places = {(end.address, end.port) for end in wiring.inputs}
        self._listener = Listener(places, boxes.values(), timing=timing)
        self._inputs = {name: Input(self, box) for name, box in boxes.items()}
        self._senders = {
            end: Sender(
                end.address,
                end.port,
                stream=end.stream,
                input=end.receiver_input,
                sender=wiring.module,
                timing=timing,
                clock=clock,
            )
            for end in wiring.outputs
        }
        self._outputs = {
            name: Output(self, name, [self._senders[end] for end in ends])
            for name, ends in _by_name(wiring.outputs).items()
        }
        self._tasks = asyncio.TaskGroup()
        self._connecting: list[asyncio.Task[None]] = []

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of the inputs that streams lead to."""
        return tuple(self._inputs)

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of the outputs that streams leave from."""
        return tuple(self._outputs)

    def input(self, name: str) -> Input:
        """The input of that name.

        Raises:
            OtterError: No stream leads to it; lists those there are.
        """
        if name not in self._inputs:
            raise _unknown(self.module, "input", name, self._inputs)
        return self._inputs[name]

    def output(self, name: str) -> Output:
        """The output of that name.

        Raises:
            OtterError: No stream leaves from it; lists those there are.
        """
        if name not in self._outputs:
            raise _unknown(self.module, "output", name, self._outputs)
        return self._outputs[name]

    async def ready(self) -> None:
        """Tell the agent that this module can do its work. Idempotent.

        The first use of an input or output says it too.

        Raises:
            OtterError: The state folder can't be written to.
        """
        self.use()

    def use(self) -> None:
        """Say that the module is ready, if it hasn't been said."""
        if self._said_ready or self._state is None:
            return
        try:
            say_ready(self._state)  # one small file on a local disk: not worth a thread
        except OSError as exc:
            raise OtterError(f"{self.module}: can't say ready: {exc}") from exc
        self._said_ready = True

    def finish(self, message: Message, done: float | None = None) -> None:
        """Record that the module is done with a message."""
        self._records.add(message, self.clock() if done is None else done)

    async def __aenter__(self) -> Mesh:
        await self._listener.open()
        await self._tasks.__aenter__()
        # Connect now: the first message shan't pay for it, and receivers learn who there is.
        for sender in self._senders.values():
            self._connecting.append(self._tasks.create_task(_try_open(sender)))
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Without an error: flush the outputs and end them. In any case: close all."""
        for task in self._connecting:
            task.cancel()
        try:
            # The group gets no error to wrap: the module's own shall reach the module's author.
            await self._tasks.__aexit__(None, None, None)
            for each in self._inputs.values():
                each.finish()
            if error is None:
                await self._end_outputs()
        finally:
            for sender in self._senders.values():
                sender.abort()
            await self._listener.aclose()
            self._records.close()

    async def _end_outputs(self) -> None:
        """Wait until the receivers have everything; meanwhile nobody may have to wait for us."""
        for each in self._listener.inputs.values():
            each.discard()
        async with asyncio.TaskGroup() as group:
            closing = [(s, group.create_task(s.aclose())) for s in self._senders.values()]
        for sender, task in closing:
            if not task.result():
                say(f"stream {sender.stream}: its receiver isn't there; it was not ended")


async def _try_open(sender: Sender) -> None:
    """Connect ahead of need; what goes wrong is said here, and raised when something is sent."""
    try:
        await sender.open()
    except TransportError as exc:
        say(str(exc))


def _by_name(ends: tuple[StreamEnd, ...]) -> dict[str, list[StreamEnd]]:
    groups: dict[str, list[StreamEnd]] = {}
    for end in ends:
        groups.setdefault(end.port_name, []).append(end)
    return groups


def _unknown(module: str, what: str, name: str, known: dict[str, Any]) -> OtterError:
    listed = ", ".join(sorted(known)) or "none"
    return OtterError(
        f"{module}: no stream is connected to {what} {name!r}; its {what}s are: {listed}",
        hint="see [[streams]] in the topology",
    )
