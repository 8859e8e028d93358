"""Changes of budgets by hand, as one request asks for them: whether they can be had, and doing it.

Must not know: HTTP, how anything comes into force.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import msgspec

from otter_agent import api
from otter_agent.admission import Holding, admit, admit_changes, admit_scarcity
from otter_agent.budgets.asking import resolve
from otter_agent.budgets.book import BudgetBook
from otter_agent.budgets.subjects import Subject, with_hosts
from otter_agent.links.shapes import Asked
from otter_agent.machine import Machine


@dataclass(frozen=True, slots=True)
class Hands:
    """Of one mesh.

    Attributes:
        others: What other meshes hold.
    """

    machine: Machine
    book: BudgetBook
    spec: api.MeshSpec
    others: Sequence[Holding]

    async def check(self, changes: Sequence[api.BudgetChange]) -> list[api.BudgetStatus]:
        """What is named, if it could be changed so; changes nothing. Raises `AgentError`."""
        asked = await self._asked(changes)
        return [self.book.status(subject) for subject in self.book.shaped(asked, self._admit)]

    async def shape(self, changes: Sequence[api.BudgetChange], by: str) -> list[api.BudgetStatus]:
        """Change it; returns when that is in force, with what is.

        Raises:
            AgentError: `not-found`, `bad-request`, `overcommit`, `unsupported-budget`: nothing was
                changed.
        """
        asked = await self._asked(changes)
        named = await self.book.shape(asked, by, self._admit)
        return [self.book.status(subject, error) for subject, error in named.items()]

    async def _asked(self, changes: Sequence[api.BudgetChange]) -> list[Asked[Subject]]:
        asked = resolve(changes, self.book.all(), self.spec.name)
        machine = self.machine
        admit_changes(self.spec, asked, lambda: machine.no_disks, machine.no_rates)
        if any(one.change.values.get("speed") is not None for one in asked):
            await asyncio.to_thread(self.machine.speed.value)
        return asked

    def _admit(self, hosts: Mapping[str, api.Budget]) -> None:
        """Whether hosts can have such budgets."""
        now, worth = self.book.hosts(), self.machine.hardness
        wanted, had = with_hosts(self.spec, {**now, **hosts}), with_hosts(self.spec, now)
        asked, before = Holding.of(wanted, machine=worth), Holding.of(had, machine=worth)
        admit(asked, before, self.others, self.machine.room)
        named = tuple(host for host in wanted.hosts if host.name in hosts)
        only = msgspec.structs.replace(self.spec, hosts=named, timeline=api.TimelineSpec())
        admit_scarcity(only, worth, lambda: "")
