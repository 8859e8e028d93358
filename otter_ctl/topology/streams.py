"""`[[streams]]` -> `Stream`s between modules that exist, globs expanded.

Must not know: TOML, positions, addresses.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

from otter_ctl.topology.globs import End, Names, is_glob, join
from otter_ctl.topology.model import STREAMS_LIMIT, Delivery, Expansion, Module, Stream
from otter_ctl.topology.names import short
from otter_ctl.topology.reader import Fields, shown

MAX_DEADLINE_S = 60.0
"""`net.datagram.options` has it, too; importing that would cost every command 100 ms."""


def read_streams(
    written: Sequence[Fields],
    defaults: Fields | None,
    modules: Mapping[str, Module] | None,
    expansion: list[Expansion],
) -> tuple[Stream, ...]:
    """All sound streams; `modules` None: they couldn't be read, so none is looked up."""
    names = None
    if modules is not None:
        names = Names("module", modules, (m.made_from for m in modules.values()))
    streams: dict[str, Stream] = {}
    for own in written:
        if "from" in own and "to" in own:
            _add(own, own.over(defaults), names, modules, streams, expansion)
        elif names is not None:
            for key in ("from", "to"):
                if key in own:
                    names.find(own[key][0], own.place.child(key))
    return tuple(streams.values())


def _add(
    own: Fields,
    merged: Fields,
    names: Names | None,
    modules: Mapping[str, Module] | None,
    streams: dict[str, Stream],
    expansion: list[Expansion],
) -> None:
    """The stream of a table, or all that its globs make."""
    (source, output), (target, port) = own["from"], own["to"]
    several = is_glob(source) or is_glob(target)
    ends = End(source, own.place.child("from")), End(target, own.place.child("to"))
    limit = STREAMS_LIMIT - len(streams)
    pairs, rule = join(ends, names, own.get("pair"), own.place, both_ways=False, limit=limit)
    if not several and "pair" in own.given:
        own.place.child("pair").report("goes only with globs")
    _check_datagrams(merged, own)
    made = []
    for a, b in pairs:
        stream = Stream(
            source=a,
            output=output,
            target=b,
            input=port,
            transport=merged.get("transport", "tcp"),
            queue=merged.get("queue", 16),
            policy=merged.get("policy", "block"),
            delivery=_delivery(merged, own),
            deadline_s=merged.get("deadline", 0.0),
            copy=merged.get("copy", False),
            fec_ratio=merged.get("fec", 0.0),
            partial=merged.get("partial", False),
            rate_bps=merged.get("rate", 0.0),
            **_expected(merged.get("expect")),
        )
        if len(streams) >= STREAMS_LIMIT:
            own.place.report(f"makes more than {STREAMS_LIMIT} streams")
            return
        if stream.name in streams:
            own.place.report(f"stream {shown(stream.name)} is there already")
            return
        if stream.transport == "shm" and modules is not None and not _together(stream, modules):
            place = own.place.child("transport") if "transport" in own.given else own.place
            reason = f"shm joins modules of one host: {shown(a)} and {shown(b)} are on two"
            place.report(reason)
            return
        streams[stream.name] = stream
        made.append(stream.name)
    if several and made:
        written = short(f"{source}.{output}>{target}.{port}")
        expansion.append(
            Expansion(subject="streams", written=written, rule=rule, names=tuple(made))
        )


def _expected(expect: Fields | None) -> dict[str, Any]:
    """What a stream is said to carry."""
    if expect is None or "message" not in expect:
        return {}
    every = expect.get("every")
    return {"expect_bytes": expect["message"], "expect_per_s": 1 / every if every else None}


def _delivery(merged: Fields, own: Fields) -> Delivery:
    """As written; what may be dropped is never sent again."""
    policy, transport = merged.get("policy", "block"), merged.get("transport", "tcp")
    if policy == "block" and transport != "udp":
        return cast(Delivery, merged.get("delivery", "at-least-once"))
    if "delivery" in own.given and merged.get("delivery") != "at-most-once":
        what = "udp loses" if transport == "udp" else f"{policy} drops"
        reason = f"{what} messages: only at-most-once goes with it"
        own.place.child("delivery").report(reason)
    return "at-most-once"


def _check_datagrams(merged: Fields, own: Fields) -> None:
    """Keys that only udp knows, and how long its messages may take."""
    if merged.get("transport", "tcp") != "udp":
        for key in ("fec", "partial", "rate"):
            if key in own.given:
                own.place.child(key).report('goes only with transport = "udp"')
    elif merged.get("deadline", 0.0) > MAX_DEADLINE_S:
        own.place.child("deadline").report(f"is over the {MAX_DEADLINE_S:g} s that udp keeps")


def _together(stream: Stream, modules: Mapping[str, Module]) -> bool:
    """Whether both ends are on one host, as far as the file says."""
    a, b = modules[stream.source].host, modules[stream.target].host
    return a is None or b is None or a == b
