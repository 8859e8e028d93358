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
import functools
import itertools
import secrets
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

from net.errors import OtterError, TransportError
from net.freed import give_back
from net.ids import message_id
from net.inbox import Edge, Inbox
from net.messages import Hold, Message
from net.outlets import Lost, Outlet, Receiver, Tells
from net.ports import Input, Output
from net.records import Records, say, say_ready
from net.report import Reporter
from net.tcp.listener import Listener
from net.tcp.sender import Sender
from net.timebase import MeshClock
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
        base: Where machines differ: the mesh's clock, instead of `clock`.

    Attributes:
        name: The mesh's name.
        module: This module's name.
        host: Name of the host it runs on.
        work: The module's work folder: `files` are there, `outputs` are taken from there.
        models: Folder of prepared model weights, or None.
        unanswered: Of messages to which an answer couldn't be sent, or whose `send` was cancelled.
            A module that goes on leaves them at that; of one that ends they come again.
        id_start: What the ids of its messages begin with, but those that are derived.
        reporter: Tells what its streams carry; `use` wakes it.
        said_ready: Whether that has been said, or there is nobody to say it to.
        record: Records that the module is done with a message, and when.
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
        base: MeshClock | None = None,
    ) -> None:
        if base is not None and base.corrects:
            clock = base
        self._base = base
        self.name, self.module, self.host = wiring.mesh, wiring.module, wiring.host
        self.work = work or Path.cwd()
        self.models = models
        self.clock = clock
        self.run, self.numbers = secrets.randbits(32), itertools.count(1)
        self.unanswered: list[Hold] = []
        self._state = state
        self.said_ready = state is None
        self.id_start = message_id(self.module, self.run, 0)[:-1]
        self._records = Records(state, wiring.module, error_of=self._error_of)
        self.record = self._records.add
        self.reporter = Reporter(state, self._carried, clock)
        boxes = {
            name: Inbox(name, [_edge(end) for end in ends], clock=clock)
            for name, ends in _by_name(wiring.inputs).items()
        }
        self._boxes = boxes
        self._receivers = _receivers(wiring.inputs, boxes, timing, clock)
        self._inputs = {name: Input(self, box) for name, box in boxes.items()}
        self._outlets: dict[StreamEnd, Outlet] = {
            end: _outlet(end, wiring.module, timing, clock) for end in wiring.outputs
        }
        self._outputs = {
            name: Output(self, name, [self._outlets[end] for end in ends])
            for name, ends in _by_name(wiring.outputs).items()
        }
        self._record_losses(boxes)
        self._tasks = asyncio.TaskGroup()
        self._connecting: list[asyncio.Task[None]] = []

    def _record_losses(self, boxes: dict[str, Inbox]) -> None:
        for box in boxes.values():
            box.on_lost = self._lost
        for end, outlet in self._outlets.items():
            if isinstance(outlet, Tells):
                outlet.on_lost = functools.partial(self._not_sent, end)

    def _lost(self, message: Message, outcome: str) -> None:
        self._records.add(message, 0.0, outcome)

    def _not_sent(self, end: StreamEnd, lost: Lost) -> None:
        self._records.add_lost(lost, end.stream, end.peer)

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

        The first use of an input or output says it too. What loading left of memory that is free is
        given back here, before the module is called ready.

        Raises:
            OtterError: The state folder can't be written to.
        """
        if not self.said_ready:
            give_back()
        self.use()

    def use(self) -> None:
        """Say that the module is ready, if it hasn't been said."""
        if self.reporter.asleep:
            self.reporter.wake()
        while self.unanswered:
            self.unanswered.pop().let_go()
        if self.said_ready or self._state is None:
            return
        try:
            say_ready(self._state)  # one small file on a local disk: not worth a thread
        except OSError as exc:
            raise OtterError(f"{self.module}: can't say ready: {exc}") from exc
        self.said_ready = True

    def stats(self) -> dict[str, list[dict[str, Any]]]:
        """What each stream has carried so far, as JSON can say it.

        `inputs` and `outputs`: per stream its `input` or `output`, `stream`, `transport`,
        `messages` (taken, or sent), `bytes`, `rate_per_s`, `bytes_per_s`, `waiting` (here),
        `dropped`, `expired`, `duplicates`, `resent`, `reconnects`, what only its transport counts
        (`extra`), and at inputs where the time went (`latency`), with how far the clocks of both
        ends may be apart (`clock_error_s`). `refused`: of what came and made no sense, or wasn't
        wanted, how much per `transport`, the last `peer` and the `reason`: docs/transport.md.
        """
        told = self._carried()
        for each in told["inputs"]:
            each["clock_error_s"] = self._error_of(each["stream"].partition(".")[0])
        return told

    def _error_of(self, peer: str) -> float:
        """How far its clock and ours may be apart."""
        return self._base.error_of(peer) if self._base is not None else 0.0

    def _carried(self) -> dict[str, list[dict[str, Any]]]:
        now = self.clock()
        return {
            "inputs": [each for port in self._inputs.values() for each in port.stats(now)],
            "outputs": [each for port in self._outputs.values() for each in port.stats(now)],
            "refused": [each.rubbish.summary() for each in self._receivers if each.rubbish.count],
        }

    async def __aenter__(self) -> Mesh:
        if self._base is not None:
            await self._base.known()
        try:
            for receiver in self._receivers:
                await receiver.open()
        except BaseException:
            await self._deafen()
            raise
        await self._tasks.__aenter__()
        # Connect now: the first message shan't pay for it, and receivers learn who there is.
        for outlet in self._outlets.values():
            self._connecting.append(self._tasks.create_task(_try_open(outlet)))
        self.reporter.start()
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
            if error is None:
                for each in self._inputs.values():
                    each.finish()
                await self._end_outputs()
            else:  # what the module was at is sent again to its next life
                for each in self._inputs.values():
                    each.abandon()
        finally:
            for outlet in self._outlets.values():
                outlet.abort()
            for outlet in self._outlets.values():
                await outlet.aclose()
            await self._deafen()
            self.reporter.close()
            self._records.close()

    async def _deafen(self) -> None:
        # The first ends all inputs: by then no other may bring anything.
        for receiver in reversed(self._receivers):
            await receiver.aclose()

    async def _end_outputs(self) -> None:
        """Wait until the receivers have everything; meanwhile nobody may have to wait for us."""
        for each in self._boxes.values():
            each.discard()
        async with asyncio.TaskGroup() as group:
            closing = [(o, group.create_task(o.aclose())) for o in self._outlets.values()]
        for outlet, task in closing:
            if not task.result():
                say(f"stream {outlet.stream}: its receiver isn't there; it was not ended")


def _edge(end: StreamEnd) -> Edge:
    source = "" if end.transport == "shm" else end.source_address
    return Edge(end.stream, end.queue, end.policy, source, end.transport)


def _receivers(
    ends: tuple[StreamEnd, ...],
    boxes: dict[str, Inbox],
    timing: Timing | None,
    clock: Callable[[], float],
) -> list[Receiver]:
    """What listens, by the transports of the streams that come."""
    places = {
        transport: {(end.address, end.port) for end in ends if end.transport == transport}
        for transport in ("tcp", "udp")
    }
    found: list[Receiver] = [Listener(places["tcp"], boxes.values(), timing=timing, clock=clock)]
    if places["udp"]:
        from net import datagram  # not loaded by who doesn't use it

        found.append(datagram.Endpoint(places["udp"], boxes.values(), clock=clock))
    shared = [end for end in ends if end.transport == "shm"]
    if shared:
        from net.shared.listener import Door, SharedListener

        doors = [Door(end.path, boxes[end.port_name], end.stream, end.copy) for end in shared]
        found.append(SharedListener(doors, timing=timing, clock=clock))
    return found


def _outlet(
    end: StreamEnd, module: str, timing: Timing | None, clock: Callable[[], float]
) -> Outlet:
    """The sending end of a stream, by its transport."""
    if end.transport == "shm":
        from net.shared.sender import SharedSender

        return SharedSender(
            end.path, stream=end.stream, input=end.receiver_input, sender=module,
            timing=timing, clock=clock, delivery=end.delivery, policy=end.policy,
            queue=end.queue, deadline_s=end.deadline_s,
        )  # fmt: skip
    if end.transport == "udp":
        from net import datagram  # not loaded by who doesn't use it

        return datagram.Sender(
            end.address, end.port, stream=end.stream, input=end.receiver_input, sender=module,
            timing=timing, clock=clock, policy=end.policy, queue=end.queue,
            wanted_s=end.deadline_s, options=datagram.Options(
                deadline_s=end.deadline_s or datagram.DEADLINE_S, fec_ratio=end.fec_ratio,
                partial=end.partial, rate_bps=end.rate_bps,
            ),
        )  # fmt: skip
    return Sender(
        end.address, end.port, stream=end.stream, input=end.receiver_input, sender=module,
        timing=timing, clock=clock, delivery=end.delivery, policy=end.policy, queue=end.queue,
        deadline_s=end.deadline_s,
    )  # fmt: skip


async def _try_open(outlet: Outlet) -> None:
    """Connect ahead of need; what goes wrong is said here, and raised when something is sent."""
    try:
        await outlet.open()
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
