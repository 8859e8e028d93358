"""One image from one machine to another: what is lacking, over any number of cuts.

    needs ─► layers, some at a time ─► load        a cut anywhere: needs again, which tells
                                                   how far each layer has come

The bytes pass through here, between the two SSH connections there are anyway: no machine needs to
reach or to trust another for it, and nothing new listens anywhere. Must not know: meshes.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

from net.errors import OtterError
from otter_agent import api
from otter_agent.api.parcels import Meter
from otter_ctl.errors import AgentFault, RemoteError
from otter_ctl.images.calls import ImageCalls
from otter_ctl.many import each

LAYERS_AT_ONCE = 3
"""Of one image to one machine: one that ends, or has to be looked for, leaves no gap."""
PAUSES_S = (0.2, 0.5, 1.0, 2.0, 4.0, 8.0)
"""Before each try after one that brought nothing."""
_AGAIN = frozenset({"changed", "cut", "missing-layers"})


@dataclass(slots=True)
class Sending:
    """How far it has come.

    Attributes:
        all_layers: Of the image; 0: the receiver had all of it.
        layers: That were lacking at the first look.
        total_bytes: Of the files in those.
        kept_bytes: What had come of them before this try.
        plain_bytes: What has been sent in this try.
        wire_bytes: What all tries took, compressed.
        tries: How often it was begun again.
    """

    reference: str
    all_layers: int = 0
    layers: int = 0
    total_bytes: int = 0
    kept_bytes: int = 0
    plain_bytes: int = 0
    wire_bytes: int = 0
    tries: int = 0

    @property
    def come_bytes(self) -> int:
        """Of what was lacking at first, this is there."""
        return self.kept_bytes + self.plain_bytes

    @property
    def whole_bytes(self) -> int:
        """What that is a part of: a layer is a little more than its files."""
        return max(self.come_bytes, self.total_bytes)


OnProgress = Callable[[Sending], None]


async def send(
    reference: str, source: ImageCalls, target: ImageCalls, on_progress: OnProgress
) -> Sending:
    """Send an image; returns what it took.

    Raises:
        OtterError: It can't be sent, or either end gives no answer any more.

    Cancellation: what has come stays there, for the next time.
    """
    sending = Sending(reference)
    in_vain, before = 0, -1
    while True:
        try:
            await _try(sending, source, target, on_progress)
        except RemoteError as error:
            if isinstance(error, AgentFault) and error.code not in _AGAIN:
                raise
            in_vain = in_vain + 1 if sending.kept_bytes == before else 0
            before = sending.kept_bytes
            if in_vain >= len(PAUSES_S):
                raise
            await asyncio.sleep(PAUSES_S[in_vain])
            sending.tries += 1
        else:
            return sending


async def _try(
    sending: Sending, source: ImageCalls, target: ImageCalls, on_progress: OnProgress
) -> None:
    offer = await source.offer(sending.reference)
    _check(sending.reference, offer, source.machine)
    try:
        needs = await target.needs(offer)
        if needs.present:
            return
        if not sending.all_layers:
            sending.all_layers, sending.layers = len(offer.layers), len(needs.layers)
            sending.total_bytes = sum(need.size_bytes for need in needs.layers)
        left = sum(need.size_bytes - need.start for need in needs.layers)
        sending.kept_bytes, sending.plain_bytes = max(0, sending.total_bytes - left), 0
        room = asyncio.Semaphore(LAYERS_AT_ONCE)

        async def bring(name: str, need: api.LayerNeed) -> None:
            async with room:
                await target.take(need, _counted(source.layer(offer, need), sending, on_progress))

        answers = await each({need.diff_id: need for need in needs.layers}, bring)
        if answers.failed:
            raise _gravest(list(answers.failed.values()))
        await target.load(offer)
    finally:
        with contextlib.suppress(OtterError):  # it forgets by itself, later
            await source.release(offer)


def _check(reference: str, offer: api.ImageOffer, machine: str) -> None:
    """Under another name it would become another image of the receiver's: the base of all its own.

    Raises:
        AgentFault: It is offered so.
    """
    if offer.reference != reference:
        text = f"asked for image {reference} it offers {offer.reference[:80]!r}"
        raise AgentFault(machine, api.Problem(code="corrupt", message=text))


async def _counted(
    chunks: AsyncIterator[bytes], sending: Sending, on_progress: OnProgress
) -> AsyncIterator[bytes]:
    meter = Meter()
    async for chunk in chunks:
        sending.plain_bytes += meter.feed(chunk)
        sending.wire_bytes += len(chunk)
        on_progress(sending)
        yield chunk


def _gravest(errors: list[OtterError]) -> OtterError:
    """What can't be mended by trying again, if there is such."""

    def passes(error: OtterError) -> bool:
        return not isinstance(error, AgentFault) or error.code in _AGAIN

    return min(errors, key=passes)
