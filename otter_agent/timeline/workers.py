"""Hosts and modules, as a timeline changes them: their budgets, and whether modules run."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from net.links.changes import Change
from otter_agent.budgets.book import BudgetBook
from otter_agent.budgets.subjects import Subject
from otter_agent.timeline.runs import Runs


@dataclass(frozen=True, slots=True)
class Workers:
    """Of one mesh."""

    budgets: BudgetBook
    runs: Runs

    def differing(self, wanted: Mapping[Any, Change]) -> set[Subject]:
        """Those of which something else was asked last, perhaps by an agent before this one."""
        return self.runs.differing(wanted)

    async def change(self, changes: Mapping[Subject, Change]) -> dict[Subject, str]:
        """Bring what the timeline asks now into force; why it isn't, of those it isn't of."""
        failed = await self.runs.change(changes)
        return failed | await self.budgets.change(changes)

    async def strike(self, action: str, modules: Collection[str]) -> str:
        """Restart or kill modules; the first that can't be, or ""."""
        said = [await self.runs.strike(action, module) for module in modules]
        return next(filter(None, said), "")
