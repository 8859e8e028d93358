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
CHANGES_SHARE = 0.01
"""Of changes of the timeline, made more than 5 ms after their time."""
LEAST = 10
"""Packets, moments or changes; fewer tell nothing."""
_TOLD_SHARE = 0.02
"""Of the time, without a processor: more is named as what may be the cause."""
_CROWDED_SHARE = 0.2
"""Of the time in which somebody waited for a processor; a little of it is usual."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """What has been counted up to a moment.

    Attributes:
        at_s: The moment, by a clock that only goes forward.
        wall_s: The same, in seconds since 1970.
        health: Of what carries the mesh's links; None: nothing does.
        stolen_s: Processor time that others took from this (virtual) machine, all its cores.
        throttled_s: For how long the carrying process was kept from running by a quota.
        crowded_s: For how long some process that could run waited for a processor.
        cores: Of this machine.
        changes: That the timeline made.
        late_changes: Of those: more than 5 ms after their time.
    """

    at_s: float
    wall_s: float
    health: Health | None
    stolen_s: float = 0.0
    throttled_s: float = 0.0
    crowded_s: float = 0.0
    cores: int = 1
    changes: int = 0
    late_changes: int = 0


def doubts(before: Sample, now: Sample) -> list[Doubt]:
    """What wasn't as asked between two samples, a cause each; empty: all was."""
    found = _of_changes(before, now)
    if before.health is not None and now.health is not None:
        found += _of_links(now.health.since(before.health), now.health.worst_s)
    why = _cause(before, now) if found else ""
    return [
        Doubt(
            cause=cause, text=text + why, since=before.wall_s, until=now.wall_s,
            seconds=now.at_s - before.at_s,
        )
        for cause, text in found
    ]  # fmt: skip


def _of_links(told: Health, worst_s: float) -> list[tuple[str, str]]:
    """Cause and text, of what carries them."""
    found: list[tuple[str, str]] = []
    packets = told.packets + told.overruns
    if told.late >= max(LEAST, LATE_SHARE * told.packets):
        share = f"{told.late / max(1, told.packets):.1%} of {told.packets:,} packets"
        found.append(("late", f"{share} were let go more than 3 ms late"))
    felt = bool(told.packets) or not told.in_kernel  # a process counts moments with packets only
    if felt and told.late_moments >= max(LEAST, WAIT_SHARE * told.moments):
        share = f"{told.late_moments / max(1, told.moments):.0%}"
        worst = f"{worst_s * 1000:.3g} ms at worst"
        if told.in_kernel:
            text = f"the kernel let packets go more than 3 ms late, {share} of the time ({worst})"
            found.append(("late", text))
        else:
            text = f"packets waited over 3 ms to be taken in, {share} of the time ({worst})"
            found.append(("waiting", text))
    if told.overruns >= max(LEAST, LOST_SHARE * packets):
        share = f"{told.overruns:,} packets ({told.overruns / max(1, packets):.1%})"
        found.append(("overrun", f"{share} were lost on the way to the links"))
    if told.no_room:
        found.append(("room", f"{told.no_room:,} packets were dropped for want of memory"))
    return found


def _of_changes(before: Sample, now: Sample) -> list[tuple[str, str]]:
    """The same, of the timeline; after its reset they count from zero."""
    anew = now.changes < before.changes
    made = now.changes if anew else now.changes - before.changes
    late = now.late_changes if anew else now.late_changes - before.late_changes
    if late < max(LEAST, CHANGES_SHARE * made):
        return []
    share = f"{late / max(1, made):.1%} of {made:,} changes"
    return [("changes", f"{share} of links and budgets came more than 5 ms late")]


def _cause(before: Sample, now: Sample) -> str:
    """What kept the machine from it, as far as the kernel tells: `; …`."""
    took_s = max(1e-9, now.at_s - before.at_s)
    throttled = (now.throttled_s - before.throttled_s) / took_s
    stolen = (now.stolen_s - before.stolen_s) / took_s / now.cores
    crowded = (now.crowded_s - before.crowded_s) / took_s
    words = ""
    if throttled > _TOLD_SHARE:
        words += f"; a quota kept the links' process from running {min(1.0, throttled):.0%} of it"
    if stolen > _TOLD_SHARE:
        words += f"; {min(1.0, stolen):.0%} of this machine's processor time went to other machines"
    if crowded > _CROWDED_SHARE:
        words += f"; processes waited for a processor {min(1.0, crowded):.0%} of it"
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
