"""Where the kernel has no HTB nothing limits what modules send: refused by name, or told."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from helpers.world import World, module, settled, spec

from otter_agent import api
from otter_agent.admission import admit_scarcity
from otter_agent.budgets.subjects import Subject
from otter_agent.errors import AgentError

WHY = "the kernel has no sch_htb"
LACKS = (api.Feature(name="htb", usable=False, detail=WHY), api.Feature(name="tun", usable=True))
SLOWER = {"in_bps": 1e6}


def mesh(of_host: dict[str, Any], of_module: dict[str, Any], *events: api.TimelineEvent) -> Any:
    host = api.HostSpec(name="pi", address="100.64.0.1", block="100.64.0.0/24", **of_host)
    made = api.ModuleSpec(name="a", host="pi", address="100.64.0.2", runtime="process", **of_module)
    timeline = api.TimelineSpec(events=events)
    return api.MeshSpec(name="m", run="r", hosts=(host,), modules=(made,), timeline=timeline)


@pytest.mark.parametrize(
    ("asking", "who"),
    [
        (mesh(SLOWER, {}), "host pi"),
        (mesh({}, {"out_bps": 1e6}), "module a"),
        (
            mesh({}, {}, api.TimelineEvent(at_s=1, modules=("a",), change=SLOWER, text="later")),
            "event later",
        ),
    ],
)
def test_who_asks_for_it_is_refused_by_name_unless_it_can_do_without(
    asking: api.MeshSpec, who: str
) -> None:
    with pytest.raises(AgentError, match=f"{who} can't have the network asked: {WHY}") as refused:
        admit_scarcity(asking, api.Hardness(), str, WHY)
    assert refused.value.code == "unsupported-budget"
    admit_scarcity(asking, api.Hardness(), str)
    admit_scarcity(msgspec.structs.replace(asking, allow_degraded=True), api.Hardness(), str, WHY)


def test_what_happens_on_another_machine_is_for_that_one_to_say() -> None:
    elsewhere = api.TimelineEvent(at_s=1, change=SLOWER)
    admit_scarcity(mesh({"cpu": 1.0}, {}, elsewhere), api.Hardness(), str, WHY)


async def test_by_hand_it_is_refused_and_a_mesh_without_it_says_so(tmp_path: Any) -> None:
    change = api.BudgetChange(kind="module", name="a", set=SLOWER)
    async with World(tmp_path).agent() as agent:
        agent.machine.features = LACKS
        agent.put_mesh(spec(module("a")))
        await settled(agent)
        with pytest.raises(AgentError, match=f"module a can't have the network asked: {WHY}"):
            await agent.shape_budgets("mesh", [change], None)
        without = spec(module("a", in_bps=2e6), module("b"))
        agent.put_mesh(msgspec.structs.replace(without, allow_degraded=True))
        await settled(agent)
        budgets = agent.budgets("mesh")
        assert WHY in budgets.status(Subject("module", "a")).note
        assert budgets.status(Subject("module", "b")).note == ""
        (told,) = await agent.shape_budgets("mesh", [change], None)
        assert told.asked.in_bps == 1e6
        assert WHY in told.note


def test_what_a_machine_lacks_is_known_once_it_was_tried() -> None:
    assert api.lack(LACKS, "htb") == WHY
    assert api.lack(LACKS, "tun") == api.lack((), "htb") == ""
    assert api.lack([api.Feature(name="htb", usable=False)], "htb")
