"""A module's share of a GPU is a budget like others: by hand, by events, read back."""

from __future__ import annotations

from typing import Any

import pytest

from otter_agent import api
from otter_agent.budgets.asking import resolve
from otter_agent.budgets.subjects import Subject, with_shares
from otter_agent.errors import AgentError

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
        (ask("host", "edge", 0.5), "a host has no budget of 'gpu_share'"),
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
