"""What of a request concerns one of several machines. Must not know: how machines are reached."""

from __future__ import annotations

import time
from collections.abc import Sequence
from fnmatch import fnmatchcase

from otter_agent import api


def concerns(change: api.LinkChange, link: str, source: str, target: str) -> bool:
    """Whether a change is about a direction."""
    named = change.link == link or fnmatchcase(link, change.link)
    return named and change.direction in ("", f"{source}>{target}")


def fits(change: api.BudgetChange, kind: str, name: str) -> bool:
    """Whether a change is about a host or module."""
    return change.kind == kind and (change.name == name or fnmatchcase(name, change.name))


def matching(modules: Sequence[str], part: api.MeshStatus) -> list[str] | None:
    """Those of the names and globs that fit modules there; None: none does."""
    if not modules:
        return [] if part.spec.modules else None
    names = [m.name for m in part.spec.modules]
    mine = [word for word in modules if any(fnmatchcase(name, word) for name in names)]
    return mine or None


def things(hosts: Sequence[str], modules: Sequence[str]) -> str:
    """`host edge, modules asr, vqa, tts and 3 more`; empty: there are none."""
    return ", ".join(_things("host", hosts) + _things("module", modules))


def _things(kind: str, names: Sequence[str]) -> list[str]:
    if not names:
        return []
    more = f" and {len(names) - 3} more" if names[3:] else ""
    return [f"{kind}{'s' if names[1:] else ''} {', '.join(names[:3])}{more}"]


def told(machine: str, mesh: str | None, text: str, state: str) -> api.Event:
    """An event that this controller makes."""
    return api.Event(
        seq=0, time=time.time(), mesh=mesh or "", kind="machine", subject=machine, text=text,
        state=state, machine=machine,
    )  # fmt: skip
