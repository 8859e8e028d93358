"""What is counted at the two ends of a stream of datagrams. Pure. Must not know: who counts."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class SentCounters:
    """At the sending end.

    Attributes:
        messages: Handed to the network, wholly.
        datagrams: All that carried fragments.
        bytes: Their payload, headers included.
        parity: Fragments of parity among them.
        retransmitted: Fragments sent again among them.
        expired: Messages that were not sent, or no longer kept, at their deadline.
        lost: Messages that the receiver says it gave up.
        undelivered: Datagrams that the receiver says it never got, by its last report.
    """

    messages: int = 0
    datagrams: int = 0
    bytes: int = 0
    parity: int = 0
    retransmitted: int = 0
    expired: int = 0
    lost: int = 0
    undelivered: int = 0

    def plus(self, other: SentCounters) -> SentCounters:
        """The sum of two sessions'."""
        mine, others = self.as_dict(), other.as_dict()
        return SentCounters(**{name: count + others[name] for name, count in mine.items()})

    def as_dict(self) -> dict[str, int]:
        """Name -> count."""
        return {name: getattr(self, name) for name in self.__slots__}


@dataclass(slots=True)
class ReceivedCounters:
    """At the receiving end.

    Attributes:
        messages: Whole ones.
        partial: Messages delivered with something missing.
        lost: Messages given up: something was missing at the deadline, or there was no room.
        datagrams: Fragments that arrived, whatever came of them.
        bytes: Their payload, headers included.
        late: Fragments of messages that had been given up.
        duplicate: Fragments that had arrived before.
        reordered: Datagrams that others sent later overtook.
        recovered: Fragments computed from parity.
        retransmitted: Fragments that arrived on being sent again.
        missing: Datagrams that were sent and have not arrived (so far).
        refused: Datagrams that made no sense.
    """

    messages: int = 0
    partial: int = 0
    lost: int = 0
    datagrams: int = 0
    bytes: int = 0
    late: int = 0
    duplicate: int = 0
    reordered: int = 0
    recovered: int = 0
    retransmitted: int = 0
    missing: int = 0
    refused: int = 0

    def plus(self, other: ReceivedCounters) -> ReceivedCounters:
        """The sum of two sessions'."""
        mine, others = self.as_dict(), other.as_dict()
        return ReceivedCounters(**{name: count + others[name] for name, count in mine.items()})

    def as_dict(self) -> dict[str, int]:
        """Name -> count."""
        return {name: getattr(self, name) for name in self.__slots__}
