"""Sentences that several verbs say. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from otter_ctl.planning.diff import Change

MOST_CAUSES = 4
"""Of one restart; then they are counted."""


def causes(change: Change) -> str:
    """Why a module is restarted: `env.MODEL, stream a.x>b.y is new`."""
    shown = ", ".join(change.because[:MOST_CAUSES])
    more = len(change.because) - MOST_CAUSES
    return f"{shown} and {more} more" if more > 0 else shown


def restarts(changes: Iterable[Change]) -> Iterator[str]:
    """A line for each module that is restarted, or started again."""
    for change in changes:
        if change.restart:
            yield f"module {change.name} restarts: {causes(change)}"
        elif change.kind == "start":
            yield f"module {change.name} starts: it was stopped"


def overcommitted(text: str) -> str:
    """What `overcommit` of a status means for the run."""
    if text == "allowed":
        return "overcommit: the topology allows budgets beyond what this machine has"
    return f"overcommitted: hosts are promised {text}; what is measured may be the machine's lack"
