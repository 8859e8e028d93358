"""`[[streams]]` -> `Stream`s between modules that exist.

Must not know: TOML, positions, addresses.
"""

from __future__ import annotations

from collections.abc import Collection

from otter_ctl.topology.model import Stream
from otter_ctl.topology.reader import Fields, did_you_mean, shown


def read_streams(written: list[Fields], modules: Collection[str] | None) -> tuple[Stream, ...]:
    """All sound streams; `modules` None: they couldn't be read, so none is looked up."""
    streams: dict[str, Stream] = {}
    for own in written:
        sound = [_known(own, key, modules) for key in ("from", "to")]
        if not all(sound):
            continue
        (source, output), (target, port) = own["from"], own["to"]
        stream = Stream(
            source=source,
            output=output,
            target=target,
            input=port,
            transport=own.get("transport", "tcp"),
            queue=own.get("queue", 16),
            policy=own.get("policy", "block"),
        )
        if stream.name in streams:
            own.place.report(f"stream {shown(stream.name)} is there already")
        streams[stream.name] = stream
    return tuple(streams.values())


def _known(own: Fields, key: str, modules: Collection[str] | None) -> bool:
    """Whether the end is written, sound, and names a module."""
    if key not in own:
        return False
    module = own[key][0]
    if modules is None or module in modules:
        return True
    place = own.place.child(key)
    place.report(f"unknown module {shown(module)}{did_you_mean(module, modules, place)}")
    return False
