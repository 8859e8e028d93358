"""What a mesh's own status adds to what was measured of it. Pure."""

from __future__ import annotations

from typing import Any

import msgspec

from otter_agent import api

CHANGED = "changed while it was measured: not judged"
_Key = tuple[str, str, str]


def asked_of(status: api.MeshStatus) -> dict[_Key, dict[str, Any]]:
    """What is asked of each direction that the topology has."""
    return {(one.name, one.from_, one.to): one.asked for one in status.links}


def told(line: api.VerifyLine, before: api.MeshStatus, now: api.MeshStatus) -> api.VerifyLine:
    """A line as it is to be told.

    Directions of which something else is asked by now are not judged. Those that lost packets
    because this machine was too slow say so: that is no fault of theirs, nor what was asked.
    """
    was, is_ = asked_of(before), asked_of(now)
    missed = {key: count - _overruns(before).get(key, 0) for key, count in _overruns(now).items()}

    def one(row: api.VerifyRow) -> api.VerifyRow:
        key = (row.link, row.from_, row.to)
        if was.get(key) != is_.get(key):
            return msgspec.structs.replace(row, asked=None, error=None, ok=True, note=CHANGED)
        if not row.ok and missed.get(key, 0) > 0:
            slow = f"this machine was too slow for {missed[key]} packets"
            return msgspec.structs.replace(row, note="; ".join(filter(None, (row.note, slow))))
        return row

    return msgspec.structs.replace(line, rows=tuple(map(one, line.rows)))


def _overruns(status: api.MeshStatus) -> dict[_Key, int]:
    return {
        (one.name, one.from_, one.to): one.counters.dropped.get("overrun", 0)
        for one in status.links
        if one.counters is not None
    }
