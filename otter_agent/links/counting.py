"""What links count, as the API tells it. Pure.

How much of a rate is used takes two looks, so it is kept here what was counted before.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping

import msgspec

from net.links.spec import LinkSpec
from otter_agent import api
from otter_agent.links.base import Counters
from otter_agent.links.ways import Way

WINDOW_S = 1.0
"""Over which a use is averaged at least, where it is looked at so often."""


class Meter:
    """How fast a counter grows, over the last second or so."""

    def __init__(self) -> None:
        self._seen: list[tuple[float, float]] = []

    def rate(self, now: float, count: float) -> float | None:
        """Per second; None: not known yet."""
        seen = self._seen
        if seen and count < seen[-1][1]:
            seen.clear()  # it begins again
        seen.append((now, count))
        while len(seen) > 2 and now - seen[1][0] >= WINDOW_S:
            del seen[0]
        (then, before), span = seen[0], now - seen[0][0]
        return (count - before) / span if span >= WINDOW_S / 2 and now > then else None


class Uses:
    """Of one mesh: how long its links' queues are, in time, and how much of them is used."""

    def __init__(self) -> None:
        self._meters: dict[Way, Meter] = {}
        self._lock = threading.Lock()

    def told(
        self,
        count: Callable[[], Mapping[Way, Counters]],
        asked: Mapping[Way, LinkSpec],
        clock: Callable[[], float],
    ) -> dict[Way, Counters]:
        """What is counted now, with what follows from it where there is a rate.

        One at a time: who told an earlier count later would seem to have seen it begin again.
        """
        with self._lock:
            counters, now_s = count(), clock()
            self._meters = {way: self._meters.get(way) or Meter() for way in counters}
            return {
                way: self._told(way, one, asked.get(way), now_s) for way, one in counters.items()
            }

    def _told(self, way: Way, found: Counters, asked: LinkSpec | None, now_s: float) -> Counters:
        if asked is None or not asked.rate_bps:
            return found  # it has no queue, and no measure of its use
        each = asked.overhead_bytes or 0
        sent_bits = 8 * (found.bytes + each * found.packets)
        inside_s = 8 * (found.waiting_bytes + each * found.waiting_packets) / asked.rate_bps
        rate = self._meters[way].rate(now_s, sent_bits)
        return msgspec.structs.replace(
            found,
            # What waits and what is under way: the latter is what the rate fills the delay with.
            queue_delay_s=max(0.0, inside_s - (asked.delay_s or 0.0)),
            use_ratio=None if rate is None else rate / asked.rate_bps,
        )


def counted(
    links: Iterable[api.LinkStatus], counters: Mapping[Way, Counters]
) -> tuple[api.LinkStatus, ...]:
    """Links with what they counted, where that is known."""
    return tuple(_with(link, counters.get(Way(link.name, link.from_, link.to))) for link in links)


def _with(link: api.LinkStatus, counters: Counters | None) -> api.LinkStatus:
    if counters is None or link.driver == "none":
        return link
    return msgspec.structs.replace(link, counters=counters)
