"""A sender's messages as records on a channel: one of a slot, one with all bytes, or many pieces.

Must not know: what is outstanding, the event loop.
"""

from __future__ import annotations

from net.shared import records
from net.shared.channel import Channel
from net.shared.outgoing import Outgoing
from net.shared.regions import Region, Slot
from net.shared.unsettled import Placed


class Writing:
    """What of it the receiver has been told.

    Args:
        outgoing: The messages' memory.

    Attributes:
        begun: A message that was written in part.
        known: Numbers of the regions that the receiver has.
    """

    def __init__(self, outgoing: Outgoing) -> None:
        self._outgoing, self._regions = outgoing, outgoing.regions
        self.known: set[int] = set()
        self.begun: Placed | None = None
        self._piece_at = 0

    def cut_off(self) -> None:
        """The receiver is gone: the next one knows nothing."""
        self.begun, self._piece_at = None, 0
        self.known.clear()
        self._regions.forgotten.clear()

    def write(self, channel: Channel, entry: Placed) -> bool:
        """Whether the socket has it, or the channel keeps the rest."""
        if entry.slot is not None:
            self._write_slot(channel, entry.slot, entry.size)
            return channel.alive
        record = entry.record
        if entry.size <= records.MAX_PAYLOAD:
            channel.push(record)
            return channel.alive
        data = memoryview(record)[records.HEAD_BYTES :]
        self.begun = entry
        while self._piece_at < entry.size and channel.alive:
            if channel.clogged:
                return False
            part = data[self._piece_at : self._piece_at + records.MAX_PAYLOAD]
            channel.push(records.head(records.PIECE, entry.size), part)
            self._piece_at += len(part)
        if channel.alive:
            self.begun, self._piece_at = None, 0
        return channel.alive

    def _write_slot(self, channel: Channel, slot: Slot, size: int) -> None:
        self._tell_forgotten(channel)
        region = slot.region
        if region.number not in self.known:
            self.known.add(region.number)
            self._introduce(channel, region)
        number, at = slot.place
        self._outgoing.lend(slot)
        channel.push(records.head(records.SLOT, number, at, size))

    def _introduce(self, channel: Channel, region: Region) -> None:
        channel.push(records.head(records.REGION, region.number, region.size))
        channel.push(records.head(records.MEMORY), fd=region.fd)

    def _tell_forgotten(self, channel: Channel) -> None:
        while self._regions.forgotten:
            number = self._regions.forgotten.pop()
            if number in self.known:
                self.known.remove(number)
                channel.push(records.head(records.FORGET, number))
