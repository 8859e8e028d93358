"""Two samples of how well links are carried -> what was wrong between them. Pure.

Limits are what is promised on a busy machine (docs/fidelity.md): beyond them what modules measured
is this machine's lack, and not the links'. Must not know: where samples come from, who is told.
"""

from __future__ import annotations

from dataclasses import dataclass

from otter_agent.api.status import Doubt
from otter_agent.links.base import Health

LATE_SHARE = 0.01
"""Of packets, let go more than 3 ms after their time."""
WAIT_SHARE = 0.05
"""Of moments at which a packet would have waited over 3 ms to be taken in."""
LOST_SHARE = 0.001
"""Of packets, lost on the way to the links, or in a helper that is full."""
LEAST = 10
"""Packets, or moments; fewer tell nothing."""
_TOLD_SHARE = 0.02
"""Of the time, without a processor: more is named as what may be the cause."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """What has been counted up to a moment.

    Attributes:
        at_s: The moment, by a clock that only goes forward.
        wall_s: The same, in seconds since 1970.
        health: Of what carries the mesh's links; None: nothing does.
        stolen_s: Processor time that others took from this (virtual) machine, all its cores.
        throttled_s: For how long the carrying process was kept from running by a quota.
        cores: Of this machine.
    """

    at_s: float
    wall_s: float
    health: Health | None
    stolen_s: float = 0.0
    throttled_s: float = 0.0
    cores: int = 1


def doubts(before: Sample, now: Sample) -> list[Doubt]:
    """What wasn't as asked between two samples, a cause each; empty: all was."""
    if before.health is None or now.health is None:
        return []
    told = now.health.since(before.health)
    found: list[tuple[str, str]] = []
    packets = told.packets + told.overruns
    if told.late >= max(LEAST, LATE_SHARE * told.packets):
        share = f"{told.late / max(1, told.packets):.1%} of {told.packets:,} packets"
        found.append(("late", f"{share} were let go more than 3 ms late"))
    if told.late_moments >= max(LEAST, WAIT_SHARE * told.moments):
        share = f"{told.late_moments / max(1, told.moments):.0%}"
        worst = f"{now.health.worst_s * 1000:.3g} ms at worst"
        found.append(("waiting", f"packets waited over 3 ms to be taken in, {share} of the time"))
        found[-1] = (found[-1][0], f"{found[-1][1]} ({worst})")
    if told.overruns >= max(LEAST, LOST_SHARE * packets):
        share = f"{told.overruns:,} packets ({told.overruns / max(1, packets):.1%})"
        found.append(("overrun", f"{share} were lost on the way to the links"))
    if told.no_room:
        found.append(("room", f"{told.no_room:,} packets were dropped for want of memory"))
    why = _cause(before, now) if found else ""
    return [
        Doubt(
            cause=cause, text=text + why, since=before.wall_s, until=now.wall_s,
            seconds=now.at_s - before.at_s,
        )
        for cause, text in found
    ]  # fmt: skip


def _cause(before: Sample, now: Sample) -> str:
    """What kept the machine from it, as far as the kernel tells: `; …`."""
    took_s = max(1e-9, now.at_s - before.at_s)
    throttled = (now.throttled_s - before.throttled_s) / took_s
    stolen = (now.stolen_s - before.stolen_s) / took_s / now.cores
    words = ""
    if throttled > _TOLD_SHARE:
        words += f"; a quota kept the links' process from running {min(1.0, throttled):.0%} of it"
    if stolen > _TOLD_SHARE:
        words += f"; {min(1.0, stolen):.0%} of this machine's processor time went to other machines"
    return words


def merged(known: tuple[Doubt, ...], more: list[Doubt]) -> tuple[Doubt, ...]:
    """Causes with what was found later: its words are those of the last time."""
    by_cause = {doubt.cause: doubt for doubt in known}
    for doubt in more:
        before = by_cause.get(doubt.cause)
        if before is not None:
            doubt = Doubt(
                cause=doubt.cause, text=doubt.text, since=before.since, until=doubt.until,
                seconds=before.seconds + doubt.seconds,
            )  # fmt: skip
        by_cause[doubt.cause] = doubt
    return tuple(by_cause.values())
