"""What links count, as the API tells it. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

from otter_agent import api
from otter_agent.links.base import Counters
from otter_agent.links.ways import Way


def counted(
    links: Iterable[api.LinkStatus], counters: Mapping[Way, Counters]
) -> tuple[api.LinkStatus, ...]:
    """Links with what they counted, where that is known."""
    return tuple(_with(link, counters.get(Way(link.name, link.from_, link.to))) for link in links)


def _with(link: api.LinkStatus, counters: Counters | None) -> api.LinkStatus:
    if counters is None or link.driver == "none":
        return link
    return msgspec.structs.replace(link, counters=counters)
