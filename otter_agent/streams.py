"""What modules tell of their streams: `streams.json` and `messages.csv` in their state folders.

A module writes there what it likes: only regular files are read, no link is followed, sizes are
bounded, and what makes no sense is as if it weren't there. Names come from the topology, never from
a module. Must not know: HTTP, how modules run.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Collection, Iterator, Sequence
from typing import Annotated, Any, BinaryIO

import msgspec

from net.traces import MAX_RECORDS_BYTES, lines_naming
from otter_agent import api
from otter_agent.layout import Layout
from otter_agent.results import RECORDS_FILE, open_plain

STREAMS_FILE = "streams.json"
MAX_REPORT_BYTES = 4 << 20
MAX_EXTRA = 64
"""Counters that only a transport has."""
TRANSPORTS = ("tcp", "udp", "shm")

Count = Annotated[int, msgspec.Meta(ge=0, le=(1 << 63) - 1)]
Amount = Annotated[float, msgspec.Meta(ge=-1e15, le=1e15)]


class _End(msgspec.Struct):
    """One end of a stream, as its module tells."""

    stream: str = ""
    transport: str = ""
    messages: Count = 0
    bytes: Count = 0
    rate_per_s: Amount = 0.0
    bytes_per_s: Amount = 0.0
    waiting: Count = 0
    dropped: Count = 0
    expired: Count = 0
    duplicates: Count = 0
    resent: Count = 0
    reconnects: Count = 0
    latency: dict[str, api.Latency] = {}
    extra: dict[str, Amount] = {}


class _Report(msgspec.Struct):
    inputs: list[_End] = []
    outputs: list[_End] = []


_DECODER = msgspec.json.Decoder(_Report)
_SILENT = _End()


def stream_statuses(layout: Layout, spec: api.MeshSpec) -> tuple[api.StreamStatus, ...]:
    """All streams of a mesh with what both of their ends tell. Blocking: reads files."""
    sent: dict[str, _End] = {}
    taken: dict[str, _End] = {}
    for module in spec.modules:
        if not module.streams_in and not module.streams_out:
            continue
        report = _read(layout, spec.name, module.name)
        for ends, told, found in (
            (module.streams_in, report.inputs, taken), (module.streams_out, report.outputs, sent)
        ):  # fmt: skip
            names = {end.stream for end in ends}
            found.update({end.stream: end for end in told if end.stream in names})
    return tuple(
        _status(module.name, end, sent.get(end.stream, _SILENT), taken.get(end.stream, _SILENT))
        for module in spec.modules
        for end in module.streams_in
    )


def _read(layout: Layout, mesh: str, module: str) -> _Report:
    with (
        contextlib.suppress(OSError, ValueError, RecursionError),
        _opened(layout, mesh, module, STREAMS_FILE, MAX_REPORT_BYTES) as file,
    ):
        return _DECODER.decode(file.read(MAX_REPORT_BYTES))
    return _Report()


@contextlib.contextmanager
def _opened(
    layout: Layout, mesh: str, module: str, name: str, limit_bytes: int
) -> Iterator[BinaryIO]:
    """A file of a module's state folder.

    Raises:
        OSError: It isn't there, isn't a plain file, or is too large.
    """
    descriptor = open_plain(layout.module(mesh, module).state, name)
    if descriptor is None:
        raise FileNotFoundError(name)
    with os.fdopen(descriptor, "rb") as file:
        if os.fstat(descriptor).st_size > limit_bytes:
            raise OSError("too large")
        yield file


def _status(receiver: str, end: api.StreamEnd, sent: _End, taken: _End) -> api.StreamStatus:
    actual = taken.transport or sent.transport
    extra = {"sender": _bounded(sent.extra), "receiver": _bounded(taken.extra)}
    return api.StreamStatus(
        name=end.stream,
        from_=end.peer,
        to=receiver,
        asked=end.transport,
        transport=actual if actual in TRANSPORTS else "",
        messages=taken.messages,
        sent=sent.messages,
        bytes=taken.bytes,
        rate_per_s=taken.rate_per_s,
        bytes_per_s=taken.bytes_per_s,
        waiting=taken.waiting,
        unsent=sent.waiting,
        dropped=sent.dropped + taken.dropped,
        expired=sent.expired + taken.expired,
        duplicates=taken.duplicates,
        resent=sent.resent,
        reconnects=sent.reconnects,
        latency={part: taken.latency[part] for part in api.PARTS if part in taken.latency},
        extra={which: counts for which, counts in extra.items() if counts},
    )


def _bounded(extra: dict[str, Any]) -> dict[str, float]:
    names = [name for name in extra if name.isidentifier() and len(name) <= MAX_EXTRA]
    return {name: float(extra[name]) for name in names[:MAX_EXTRA]}


def record_lines(
    layout: Layout, mesh: str, modules: Sequence[api.ModuleSpec], ids: Collection[str]
) -> Iterator[api.RecordLine]:
    """Lines of modules' message records that name one of the ids. Blocking: reads files."""
    for module in modules:
        with (
            contextlib.suppress(OSError),
            _opened(layout, mesh, module.name, RECORDS_FILE, MAX_RECORDS_BYTES) as file,
        ):
            for line in lines_naming(file, ids):
                yield api.RecordLine(module=module.name, line=line.decode(errors="replace"))
