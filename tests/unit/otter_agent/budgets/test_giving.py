"""What is asked of budgets, and looked for, while topologies come and go."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from net.links.changes import Change
from otter_agent import api
from otter_agent.budgets.book import BudgetBook
from otter_agent.budgets.giving import Giving, as_they_are, no_rates, no_space
from otter_agent.budgets.subjects import Subject, asked
from otter_agent.errors import AgentError
from otter_agent.links.shapes import Asked


def spec(*modules: str) -> api.MeshSpec:
    host = api.HostSpec(name="h", address="100.64.0.1", block="100.64.0.0/24", memory_bytes=1 << 30)
    made = (
        api.ModuleSpec(name=name, host="h", address="100.64.0.2", runtime="process")
        for name in modules
    )
    return api.MeshSpec(name="m", run="r", hosts=(host,), modules=tuple(made))


def test_a_topology_that_comes_in_the_middle_of_it_ends_nothing():
    known = asked(spec("a", "b"))
    groups: Any = SimpleNamespace(version="v2", looked=[])

    def kills(group: str) -> int:  # in a thread: meanwhile the loop takes another topology
        groups.looked.append(group)
        giving.take(spec("a"))
        return len(groups.looked) - 1

    groups.oom_kills = kills

    def of(subject: Subject) -> api.Budget:
        return known.get(subject, api.Budget())

    giving = Giving(groups, of, as_they_are, str, no_space, no_rates)
    giving.take(spec("a", "b"))
    assert giving.killed() == []
    assert groups.looked == ["m/h/a"]
    assert giving.killed() == ["a"]


class Unread(dict[str, Subject]):
    """Nobody goes through it."""

    def items(self) -> Any:
        raise AssertionError("all modules are looked at for one")


def test_what_stays_is_told_of_a_subjects_own_modules_without_a_look_at_all_others():
    of = {Subject("module", n): api.Budget(gpu_share=0.5) for n in "ab"}
    giving = Giving(
        None, lambda subject: of.get(subject, api.Budget()), as_they_are, str, no_space, no_rates,
        stays=lambda module, share: f"{share:g} of {module}",
    )  # fmt: skip
    giving.take(spec("a", "b", "c"))
    giving._hosts = Unread(giving._hosts)
    assert giving.note(Subject("module", "b")) == "0.5 of b"
    assert giving.note(Subject("module", "c")) == ""
    assert giving.note(Subject("host", "h")) == "module a: 0.5 of a; module b: 0.5 of b"


@pytest.mark.parametrize("gone", [Subject("host", "old"), Subject("module", "b")])
async def test_what_another_topology_has_taken_meanwhile_is_changed_no_more(gone: Subject):
    kept: Any = SimpleNamespace(budgets=lambda mesh: {}, put_budgets=lambda mesh, budgets: None)
    book = BudgetBook(None, spec("a"), kept, lambda *told: None)
    one = Asked(of=(gone,), change=Change({"cpu": 1.0}), reset=False, for_s=None)
    with pytest.raises(AgentError, match=f"mesh m has no {gone} any more") as caught:
        await book.shape([one])
    assert caught.value.code == "not-found"
    assert not book.is_changed(gone)


async def test_what_a_caller_that_goes_away_leaves_is_brought_into_force():
    kept: Any = SimpleNamespace(budgets=lambda mesh: {}, put_budgets=lambda mesh, budgets: None)
    book = BudgetBook(None, spec("a", "b"), kept, lambda *told: None)
    given: list[str] = []
    going, all_have_it = asyncio.Event(), asyncio.Event()

    async def limit(name: str) -> str:
        given.append(name)
        if len(given) == 1:
            going.set()
            await asyncio.Event().wait()
        if set(given[1:]) == {"a", "b"}:
            all_have_it.set()
        return ""

    book.limit = limit
    both = tuple(Subject("module", name) for name in "ab")
    one = Asked(of=both, change=Change({"cpu": 1.0}), reset=False, for_s=None)
    async with asyncio.timeout(5), asyncio.TaskGroup() as group:
        call = group.create_task(book.shape([one]))
        await going.wait()
        call.cancel()
        running = group.create_task(book.run())
        await all_have_it.wait()
        running.cancel()
    assert [book.of(subject).cpu for subject in both] == [1.0, 1.0]
