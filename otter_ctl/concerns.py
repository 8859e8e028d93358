"""What of a request concerns one of several machines. Must not know: how machines are reached."""

from __future__ import annotations

import time
from collections.abc import Sequence
from fnmatch import fnmatchcase

from net.errors import OtterError
from otter_agent import api
from otter_ctl.client import AgentClient
from otter_ctl.errors import AgentFault


async def shape(
    agent: AgentClient, mesh: str, changes: Sequence[api.LinkChange]
) -> list[api.LinkStatus]:
    """Those of the changes that concern directions made scarce there."""
    there = await agent.links(mesh)
    mine = [c for c in changes if any(concerns(c, link) for link in there)]
    if not mine:
        return await agent.shape(mesh, changes)  # it says what isn't there
    return await agent.shape(mesh, mine)


def concerns(change: api.LinkChange, link: api.LinkStatus) -> bool:
    """Whether a change is about a direction."""
    named = change.link == link.name or fnmatchcase(link.name, change.link)
    return named and change.direction in ("", f"{link.from_}>{link.to}")


def fits(change: api.BudgetChange, one: api.BudgetStatus) -> bool:
    """Whether a change is about a host or module."""
    return change.kind == one.kind and (
        change.name == one.name or fnmatchcase(one.name, change.name)
    )


def is_fault(error: OtterError, code: str) -> bool:
    """Whether an agent refused with that code."""
    return isinstance(error, AgentFault) and error.code == code


def matching(modules: Sequence[str], part: api.MeshStatus) -> list[str] | None:
    """Those of the names and globs that fit modules there; None: none does."""
    if not modules:
        return [] if part.spec.modules else None
    names = [m.name for m in part.spec.modules]
    mine = [word for word in modules if any(fnmatchcase(name, word) for name in names)]
    return mine or None


def told(machine: str, mesh: str | None, text: str, state: str) -> api.Event:
    """An event that this controller makes."""
    return api.Event(
        seq=0, time=time.time(), mesh=mesh or "", kind="machine", subject=machine, text=text,
        state=state, machine=machine,
    )  # fmt: skip
