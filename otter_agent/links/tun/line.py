"""A link in the helper: two TUN devices, and what becomes of packets between them.

    device at A ─ read ─► Model A>B ─ write ─► device at B,   and back

Must not know: the agent, clocks, when its turn is.
"""

from __future__ import annotations

import errno
import os
import time
from dataclasses import dataclass

from net.links.cell import Medium
from net.links.chance import Chances, chances
from net.links.delivery import Schedule
from net.links.model import ROOM_BYTES, Model
from net.links.spec import LinkSpec
from otter_agent.links.base import Counters, Direction
from otter_agent.links.tun import device, protocol
from otter_agent.links.tun.pulse import LATE_S

_BATCH = 64
"""Packets read at once: then others have their turn."""
_SHARE = 8
"""One part in so many of the machine's memory."""
_LONGEST = device.HEADER_BYTES + 65_535

_buffer = bytearray(_LONGEST)
_view = memoryview(_buffer)


class Room:
    """What all links of a helper hold together at most: their packets are locked in memory.

    Attributes:
        left_bytes: What is still free.
    """

    def __init__(self, total_bytes: int | None = None) -> None:
        if total_bytes is None:
            total_bytes = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // _SHARE
        self.left_bytes = total_bytes


class Gone(Exception):  # noqa: N818 - a word of this file
    """A device isn't there any more."""


@dataclass(slots=True)
class Lateness:
    """By how much packets were let go after their time, in seconds."""

    count: int = 0
    total_s: float = 0.0
    max_s: float = 0.0
    over: int = 0
    """How many were so late that it isn't what was asked."""

    def add(self, late_s: float) -> None:
        """One more."""
        if late_s > LATE_S:
            self.over += 1
        self.count += 1
        self.total_s += late_s
        self.max_s = max(self.max_s, late_s)


class Way:
    """One direction of a line.

    Attributes:
        direction: Of which link, as last asked; None: nothing was ever asked of it.
        model: What becomes of packets.
        scheduled_s: When its turn is; infinite: nothing waits.
    """

    def __init__(self, source: int, target: int, room: Room, *, offload: bool) -> None:
        self.direction: Direction | None = None
        self.model = Model(LinkSpec(), chances(0), start=device.HEADER_BYTES)
        self.lateness = Lateness()
        self.scheduled_s = float("inf")
        self.source = source
        self._target = target
        self._room = room
        self._taken_bytes = 0
        self._offload = offload

    def ask(
        self,
        direction: Direction,
        spec: LinkSpec,
        now: float,
        medium: Medium | None = None,
        schedule: Schedule | None = None,
    ) -> None:
        """Have properties from now on, with the medium and the schedule that `spec` names.

        Raises:
            Gone: The device isn't there any more.
        """
        seeds = _chances(direction)
        if self.direction is None:
            self.model = Model(
                spec, seeds, start=device.HEADER_BYTES, schedule=schedule, shift_s=_since_boot()
            )
        else:
            if (self.direction, self.direction.seed) != (direction, direction.seed):
                self.model.reseed(seeds)
            if medium is not self.model.medium:
                self.model.share(None, now)
            self.model.change(spec, now, schedule)
        self.model.share(medium, now)
        self.direction = direction
        uncut = protocol.uncut(spec)
        if uncut != self._offload:
            try:
                device.set_offload(self.source, offload=uncut)
            except OSError as exc:
                raise Gone from exc
            self._offload = uncut

    def read(self, now: float) -> None:
        """Take in what has been sent out of the source's device.

        Raises:
            Gone: It isn't there any more.
        """
        packets = []
        try:
            for _ in range(_BATCH):
                size = os.readv(self.source, (_buffer,))
                packets.append(bytes(_view[:size]))
        except BlockingIOError:
            pass
        except OSError as exc:
            raise Gone from exc
        model = self.model
        model.room_bytes = min(ROOM_BYTES, self._taken_bytes + max(0, self._room.left_bytes))
        model.offer(packets, now)
        self.account(model.held_bytes)

    def account(self, held_bytes: int) -> None:
        """Take of the room, or give back, what is held more or less than before."""
        self._room.left_bytes -= held_bytes - self._taken_bytes
        self._taken_bytes = held_bytes

    def write(self, now: float) -> None:
        """Hand what has arrived to the target's device.

        Raises:
            Gone: It isn't there any more.
        """
        tally = self.model.tally
        arrived = self.model.take(now)
        self.account(self.model.held_bytes)
        for at, packet in arrived:
            if at < now:
                self.lateness.add(now - at)
            try:
                os.write(self._target, packet)
            except OSError as exc:
                if exc.errno == errno.EBADFD:
                    raise Gone from exc
                tally.drop("other")  # no IP packet, or the device is down
                tally.packets -= 1
                tally.bytes -= len(packet) - device.HEADER_BYTES

    def counters(self) -> Counters:
        """What passed and what didn't."""
        model, late = self.model, self.lateness
        tally = model.tally
        return Counters(
            packets=tally.packets,
            bytes=tally.bytes,
            dropped=dict(tally.dropped),
            duplicated=tally.duplicated,
            corrupted=tally.corrupted,
            marked=tally.marked,
            waiting_packets=model.waiting_packets,
            waiting_bytes=model.waiting_bytes,
            late_max_s=late.max_s,
            late_mean_s=late.total_s / late.count if late.count else 0.0,
        )


class Line:
    """A link that is carried; owns its two descriptors."""

    def __init__(
        self,
        name: str,
        ends: tuple[protocol.End, protocol.End],
        descriptors: tuple[int, int],
        room: Room,
    ) -> None:
        self.device = name
        self.ends = ends
        self.descriptors = descriptors
        a, b = descriptors
        self.ways = (
            Way(a, b, room, offload=ends[0].offload),
            Way(b, a, room, offload=ends[1].offload),
        )

    @property
    def names(self) -> frozenset[tuple[str, str]]:
        """Namespace and device of both ends."""
        return frozenset((end.netns, self.device) for end in self.ends)

    def way(self, direction: Direction) -> Way:
        """The direction that starts where this one does."""
        return self.ways[0 if self.ends[0].netns == direction.source_netns else 1]

    def inodes(self, direction: Direction) -> tuple[int, int]:
        """Of the namespaces in which a direction starts and ends."""
        one, other = self.ends[0].inode, self.ends[1].inode
        return (one, other) if self.way(direction) is self.ways[0] else (other, one)

    def close(self) -> None:
        """Let go of the devices: nothing passes any more, and they stay."""
        for way in self.ways:
            way.account(0)
        for descriptor in self.descriptors:
            os.close(descriptor)


def _since_boot() -> float:
    """From seconds since boot to the loop's clock, which stands still in suspend."""
    return time.monotonic() - time.clock_gettime(time.CLOCK_BOOTTIME)


def _chances(direction: Direction) -> Chances:
    return chances(direction.seed, direction.link, direction.source, direction.target)
