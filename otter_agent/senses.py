"""What conditions look at, read from what the agent knows of a mesh.

Values that are worked out from two looks (a rate, a use) need two of them. Blocking reads run in
threads. Must not know: what follows from a value.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Protocol

import msgspec

from net.conditions import Condition
from net.errors import OtterError
from otter_agent import api
from otter_agent.cgroups import Cgroups
from otter_agent.layout import Layout
from otter_agent.links.base import Counters
from otter_agent.links.book import LinkBook
from otter_agent.links.counting import Meter
from otter_agent.links.ways import Way
from otter_agent.streams import stream_statuses
from otter_agent.timeline.judge import Value


class Modules(Protocol):
    """What is known of modules."""

    def state(self, module: str) -> str:
        """As `status` shows it."""
        ...

    def restarts(self, module: str) -> int:
        """How often it was started again."""
        ...


class MeshSenses:
    """Of one mesh.

    Args:
        mesh: Its name.
        spec: Its topology now.
        modules: What is known of them.
        links: The same of links.
        layout: Where modules tell of their streams.
        cgroups: Where hosts are accounted for; None: nowhere.
    """

    def __init__(
        self,
        mesh: str,
        spec: Callable[[], api.MeshSpec],
        modules: Modules,
        links: LinkBook,
        layout: Layout,
        cgroups: Cgroups | None,
    ) -> None:
        self._mesh = mesh
        self._spec = spec
        self._modules = modules
        self._links = links
        self._layout = layout
        self._cgroups = cgroups
        self._meters: dict[tuple[str, str], Meter] = {}

    async def look(self, conditions: Sequence[Condition]) -> list[Value]:
        """The value that each is about, now."""
        kinds = {when.kind for when in conditions}
        streams: Mapping[str, api.StreamStatus] = {}
        counters: Mapping[str, Sequence[tuple[Way, Counters]]] = {}
        if "stream" in kinds:
            wanted = {when.name for when in conditions if when.kind == "stream"}
            streams = await asyncio.to_thread(self._streams, wanted)
        if "link" in kinds:
            counters = _by_link(await asyncio.to_thread(self._links.count))
        hosts = {when.name for when in conditions if when.kind == "host"}
        usage = await asyncio.to_thread(self._usage, hosts) if hosts else {}
        return [self._value(when, streams, counters, usage) for when in conditions]

    def _value(
        self,
        when: Condition,
        streams: Mapping[str, api.StreamStatus],
        counters: Mapping[str, Sequence[tuple[Way, Counters]]],
        usage: Mapping[str, tuple[float | None, float | None]],
    ) -> Value:
        if when.kind == "module":
            return self._of_module(when)
        if when.kind == "stream":
            return _of_stream(when.test, streams.get(when.name))
        if when.kind == "host":
            cpu, memory = usage.get(when.name, (None, None))
            return memory if when.test == "memory_above" else cpu
        found = [
            value
            for way, told in counters.get(when.name, ())
            if _meant(when, way) and (value := _of_way(when.test, told)) is not None
        ]
        if not found:
            return None
        if when.sense == "count":
            return sum(found)
        return max(found) if when.sense == "above" else min(found)

    def _of_module(self, when: Condition) -> Value:
        with suppress(KeyError):  # it is gone, with another topology
            if when.test == "restarts":
                return float(self._modules.restarts(when.name))
            return self._modules.state(when.name)
        return None

    def _streams(self, names: set[str]) -> dict[str, api.StreamStatus]:
        """Of those streams; only the files of modules at their ends are read."""
        spec = self._spec()
        ends = tuple(
            module
            for module in spec.modules
            if any(end.stream in names for end in (*module.streams_in, *module.streams_out))
        )
        part = msgspec.structs.replace(spec, modules=ends)
        return {stream.name: stream for stream in stream_statuses(self._layout, part)}

    def _usage(self, hosts: set[str]) -> dict[str, tuple[float | None, float | None]]:
        """Host -> cores and bytes that it uses."""
        found: dict[str, tuple[float | None, float | None]] = {}
        if self._cgroups is None:
            return found
        for host in hosts:
            group = f"{self._mesh}/{host}"
            with suppress(OtterError, OSError, ValueError):
                used_s = self._cgroups.cpu_used_s(group)
                cpu = None
                if used_s is not None:
                    cpu = self._meter("host", host).rate(time.monotonic(), used_s)
                found[host] = cpu, float(self._cgroups.memory_used(group))
        return found

    def _meter(self, kind: str, name: str) -> Meter:
        return self._meters.setdefault((kind, name), Meter())


def _by_link(counters: Mapping[Way, Counters]) -> dict[str, list[tuple[Way, Counters]]]:
    """A thousand conditions of thousands of links can't each look at all of them."""
    found: dict[str, list[tuple[Way, Counters]]] = {}
    for way, told in counters.items():
        found.setdefault(way.link, []).append((way, told))
    return found


def _of_way(test: str, told: Counters) -> float | None:
    if test in ("packets", "bytes"):
        return float(getattr(told, test))
    if test == "dropped":
        return float(sum(told.dropped.values()))
    return told.queue_delay_s if test == "queue_delay_above" else told.use_ratio


def _meant(when: Condition, way: Way) -> bool:
    return when.direction in ("", f"{way.source}>{way.target}")


def _of_stream(test: str, told: api.StreamStatus | None) -> float | None:
    if told is None or not (told.transport or told.messages):
        return None  # neither end has told anything yet
    if test == "messages":
        return float(told.messages)
    if test == "lost":
        return float(told.dropped + told.expired)
    return float(told.waiting) if test == "waiting_above" else told.rate_per_s
