"""What a mesh's own status adds to what was measured of it. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from otter_agent import api
from otter_agent.links.ways import Way

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


def without(asked: dict[str, Any], off_s: float) -> dict[str, Any]:
    """What is asked of a direction, less what the network between machines has of its delay."""
    if not off_s or not asked.get("delay_s"):
        return asked
    left_s = max(0.0, asked["delay_s"] - off_s)
    changed = {**asked, "delay_s": left_s}
    if "jitter_s" in asked:
        changed["jitter_s"] = min(asked["jitter_s"], left_s)
    return changed


def with_underlay(
    line: api.VerifyLine, off: Mapping[Way, float], now: Mapping[Way, float]
) -> api.VerifyLine:
    """Delays as they are from machine to machine: with what the network between them takes now.

    Args:
        line: As was measured here.
        off: What the topology has taken off the delay of each direction.
        now: What the network takes, where it could be told.
    """

    def one(row: api.VerifyRow) -> api.VerifyRow:
        key = Way(row.link, row.from_, row.to)
        if row.property != "delay" or key not in off or row.measured is None:
            return row
        added_s = now.get(key, off[key])
        asked = None if row.asked is None else row.asked + off[key]
        low, high = (None if x is None else x + added_s for x in (row.low, row.high))
        wrong = asked is not None and (
            (low is not None and low - asked > row.tolerance)
            or (high is not None and asked - high > row.tolerance)
        )
        told = "the network between the machines takes" if key in now else "no answer: taken for"
        note = "; ".join(filter(None, (row.note, f"{told} {added_s * 1000:.3g} ms of it")))
        return msgspec.structs.replace(
            row, asked=asked, measured=row.measured + added_s, low=low, high=high,
            error=None if asked is None else row.measured + added_s - asked,
            ok=row.ok and not wrong, note=note,
        )  # fmt: skip

    return msgspec.structs.replace(line, rows=tuple(map(one, line.rows)))


def _overruns(status: api.MeshStatus) -> dict[_Key, int]:
    return {
        (one.name, one.from_, one.to): one.counters.dropped.get("overrun", 0)
        for one in status.links
        if one.counters is not None
    }
