"""A module's share of a GPU is a budget like others: by hand, by events, read back."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from otter_agent import api
from otter_agent.budgets.asking import resolve
from otter_agent.budgets.book import BudgetBook
from otter_agent.budgets.subjects import Subject, with_shares
from otter_agent.cgroups.ungrouped import Ungrouped
from otter_agent.errors import AgentError
from otter_agent.layout import Layout

KNOWN = (Subject("host", "edge"), Subject("module", "gan"))


def ask(kind: Any, name: str, value: Any) -> api.BudgetChange:
    return api.BudgetChange(kind=kind, name=name, set={"gpu_share": value})


@pytest.mark.parametrize("value", [0.25, 1, 3, 1000.0])
def test_a_part_or_a_weight(value):
    (asked,) = resolve([ask("module", "gan", value)], KNOWN, "m")
    assert asked.change.values == {"gpu_share": float(value)}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (ask("module", "gan", 0), "a share of 0"),
        (ask("module", "gan", 1001), "a share of 1001"),
        (ask("module", "gan", None), "a share of None"),
        (ask("module", "gan", "3"), "must be a number"),
        (ask("host", "edge", 0), "a share of 0"),
    ],
)
def test_what_makes_no_sense_is_refused(change, said):
    with pytest.raises(AgentError, match=said):
        resolve([change], KNOWN, "m")


def test_what_is_asked_now_takes_the_place_of_the_topologys():
    modules = tuple(
        api.ModuleSpec(name=n, host="edge", address="10.0.0.1", runtime="process", gpu_share=share)
        for n, share in (("a", 0.5), ("b", None))
    )
    spec = api.MeshSpec(name="m", run="r", modules=modules)
    assert with_shares(spec, {"a": 0.5, "b": None}) is spec
    changed = with_shares(spec, {"a": 3.0})
    assert [m.gpu_share for m in changed.modules] == [3.0, None]


@pytest.mark.parametrize("grouped", [True, False])
async def test_a_hosts_share_is_in_force_for_its_modules_that_take_turns(
    tmp_path: Path, grouped: bool
) -> None:
    """What the topology gives the host is in its modules' shares already."""
    hosts = tuple(
        api.HostSpec(name=name, address="10.0.0.1", block="10.0.0.0/24", gpu_share=share)
        for name, share in (("edge", 0.5), ("far", None))
    )
    modules = tuple(
        api.ModuleSpec(name=n, host=host, address="10.0.0.2", runtime="process", gpu_share=share)
        for n, host, share in (("a", "edge", 0.375), ("b", "edge", None), ("c", "far", 1.0))
    )
    spec = api.MeshSpec(name="m", run="r", hosts=hosts, modules=modules)
    kept: Any = SimpleNamespace(budgets=lambda mesh: {}, put_budgets=lambda mesh, budgets: None)
    groups = None if grouped else Ungrouped(Layout.at(tmp_path))
    book = BudgetBook(groups, spec, kept, lambda *told: None)
    weights = {"a": 0.375, "c": 1.0}

    async def limit(module: str) -> str:
        share = book.granted(Subject("module", module)).gpu_share
        if share is not None:
            weights[module] = share
        return ""

    book.limit, book.turns = limit, weights.get
    edge, far = (Subject("host", name) for name in ("edge", "far"))

    async def shape(**what: Any) -> None:
        asked = resolve([api.BudgetChange(**what)], book.all(), "m")
        assert set((await book.shape(asked)).values()) == {""}

    await shape(kind="host", name="edge", set={"gpu_share": 0.25})
    assert weights == {"a": 0.1875, "c": 1.0}
    assert book.shares() == {"a": 0.1875, "b": None, "c": 1.0}
    assert book.in_force(edge).gpu_share == 0.25
    assert book.in_force(far).gpu_share is None
    await shape(kind="host", name="far", set={"gpu_share": 0.5})
    assert weights["c"] == book.in_force(far).gpu_share == 0.5
    await shape(kind="module", name="a", set={"gpu_share": 3.0})
    assert weights["a"] == 1.5
    await shape(kind="host", name="*", set={}, reset=True)
    assert weights == {"a": 3.0, "c": 1.0}
    await shape(kind="module", name="a", set={}, reset=True)
    assert weights == {"a": 0.375, "c": 1.0}


@pytest.mark.parametrize("grouped", [True, False])
async def test_a_hosts_share_that_its_modules_can_not_be_given_is_refused(
    tmp_path: Path, grouped: bool
) -> None:
    host = api.HostSpec(name="edge", address="10.0.0.1", block="10.0.0.0/24")
    module = api.ModuleSpec(
        name="gan", host="edge", address="10.0.0.2", runtime="process", gpu_share=0.5
    )
    spec = api.MeshSpec(name="m", run="r", hosts=(host,), modules=(module,))
    kept: Any = SimpleNamespace(budgets=lambda mesh: {}, put_budgets=lambda mesh, budgets: None)
    groups = None if grouped else Ungrouped(Layout.at(tmp_path))
    book = BudgetBook(groups, spec, kept, lambda *told: None)

    async def limit(module: str) -> str:
        same = book.granted(Subject("module", module)).gpu_share == 0.5
        return "" if same else "there is no arbiter"

    book.limit = limit
    asked = resolve([ask("host", "edge", 0.25)], book.all(), "m")
    assert await book.shape(asked) == {KNOWN[0]: "there is no arbiter"}
    assert book.of(KNOWN[0]).gpu_share is None
