"""One image from one machine to several at once, as `otterctl image send` does. Prints nothing."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TypeVar

import msgspec

from net.errors import OtterError
from otter_ctl.errors import RemoteError
from otter_ctl.fetching import about
from otter_ctl.images.calls import ImageCalls
from otter_ctl.images.sending import Sending, send
from otter_ctl.many import each, together
from otter_ctl.spread import Fleet

T = TypeVar("T")


class Sent(msgspec.Struct, frozen=True, kw_only=True):
    """What one machine was sent."""

    machine: str
    reference: str
    layers: int
    """That it lacked."""
    all_layers: int
    """Of the image; 0: it had it."""
    layer_bytes: int
    """Of the files in those layers."""
    kept_bytes: int
    """What of that had come before, and after a cut wasn't sent again."""
    sent_bytes: int
    """What that took on the way."""
    seconds: float

    @property
    def line(self) -> str:
        """For people."""
        if not self.all_layers:
            return f"{self.machine} has {self.reference}"
        what = f"{self.layers} of {self.all_layers} layers, {about(self.sent_bytes)} sent"
        return f"{self.machine}: {what} in {self.seconds:.1f} s"


async def sent_to(
    fleet: Fleet,
    reference: str,
    source: str,
    targets: Sequence[str],
    on_bytes: Callable[[str, int, int], None],
) -> tuple[list[Sent], OtterError | None]:
    """What each was sent, and what went wrong with the others.

    Args:
        fleet: All machines; it is closed in the end.
        reference: Of an engine's image; without a tag it is `latest`.
        source: Who has it.
        targets: Who gets it.
        on_bytes: Told how much has come to all together, and of how much, in bytes of files.
    """
    last = reference.rpartition("/")[2]
    reference = reference if ":" in last else f"{reference}:latest"
    async with fleet:
        if fleet.is_alone:
            raise RemoteError(targets[0], "no other machine is known", hint="otterctl machine add")
        agents = fleet.agents
        giver = ImageCalls(await agents.get(source), source)
        takers = {name: ImageCalls(await agents.get(name), name) for name in dict.fromkeys(targets)}
        under_way: dict[str, Sending] = {}

        async def give(name: str, taker: ImageCalls) -> Sent:
            def told(now: Sending) -> None:
                under_way[name] = now
                come = sum(one.come_bytes for one in under_way.values())
                on_bytes(reference, come, sum(one.whole_bytes for one in under_way.values()))

            began = time.monotonic()
            done = await send(reference, giver, taker, told)
            return Sent(
                machine=name, reference=reference, layers=done.layers, all_layers=done.all_layers,
                layer_bytes=done.total_bytes, kept_bytes=done.kept_bytes,
                sent_bytes=done.wire_bytes, seconds=time.monotonic() - began,
            )  # fmt: skip

        answers = await each(takers, give)
        failed = together(answers.failed) if answers.failed else None
        return [answers.good[name] for name in takers if name in answers.good], failed
