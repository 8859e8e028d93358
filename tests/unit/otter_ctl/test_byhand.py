"""Changes by hand on several machines: all of them, or none; if not, it is said who has them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest

from net.errors import OtterError
from net.links.spec import LinkSpec
from otter_agent import api
from otter_ctl import byhand
from otter_ctl.client import AgentClient
from otter_ctl.errors import AgentFault, AgentUnreachable
from otter_ctl.fleet import Found

NO = api.Problem(code="unsupported-link", message="link radio: jitter: this driver can't")
SILENT = AgentUnreachable("m2", "agent.sock", "no answer in 60 s")
TUNNEL = api.Tunnel(host="edge", local="10.0.0.1", remote="10.0.0.2", vni=1, key="0" * 32)
EMPTY = api.Budget()


class Agent(AgentClient):
    """Has one direction of a link, and a host; remembers what was changed."""

    def __init__(self, name: str, source: str, target: str) -> None:
        super().__init__(Path("/nowhere"), name)
        self.ends = source, target
        self.refuses = self.fails = False
        self.changed: list[Any] = []
        self.asked = 0

    async def links(self, mesh: str) -> list[api.LinkStatus]:
        source, target = self.ends
        return [
            api.LinkStatus(
                name="radio", from_=source, to=target, driver="tun", asked={}, applied={}
            )
        ]

    async def budgets(self, mesh: str) -> list[api.BudgetStatus]:
        return [api.BudgetStatus(kind="host", name=self.ends[0], asked=EMPTY, in_force=EMPTY)]

    async def mesh(self, name: str) -> api.MeshStatus:
        link = api.Link(
            name="radio", a="phone", b="edge", forward=LinkSpec(delay_s=0.01), tunnel=TUNNEL
        )
        away = (api.Away(machine="m2", hosts=("edge",), modules={"vqa": "edge"}),)
        spec = api.MeshSpec(name="mesh", run="r", links=(link,), machine="m1", away=away)
        return api.MeshStatus(
            mesh=name, state="ready", generation=1, settled=1, machines=(), hosts=(), modules=(),
            links=(), spec=spec,
        )  # fmt: skip

    async def shape(
        self, mesh: str, changes: Sequence[api.LinkChange], *, check: bool = False
    ) -> list[api.LinkStatus]:
        return await self._take(changes, check) or await self.links(mesh)

    async def shape_budgets(
        self, mesh: str, changes: Sequence[api.BudgetChange], *, check: bool = False
    ) -> list[api.BudgetStatus]:
        return await self._take(changes, check) or await self.budgets(mesh)

    async def _take(self, changes: Sequence[Any], check: bool) -> None:
        self.asked += 1
        if self.refuses or (self.fails and not check):
            raise AgentFault(self.machine, NO)
        if not check:
            self.changed += changes


@pytest.fixture
def agents() -> dict[str, Agent]:
    return {"m1": Agent("m1", "phone", "edge"), "m2": Agent("m2", "edge", "phone")}


async def shape(
    agents: Mapping[str, Agent],
    lost: Mapping[str, OtterError],
    link: str,
    direction: str = "",
    *,
    check: bool = False,
) -> list[api.LinkStatus]:
    change = api.LinkChange(link=link, direction=direction, set={"delay_s": 0.05})
    found = await parts(agents, lost)
    return await byhand.links(agents, found, "mesh", [change], check=check)


async def parts(agents: Mapping[str, Agent], lost: Mapping[str, OtterError]) -> Found:
    return Found({name: await agent.mesh("mesh") for name, agent in agents.items()}, dict(lost))


async def test_both_directions_are_changed_where_they_are(agents: dict[str, Agent]) -> None:
    found = await shape(agents, {}, "radio")
    assert [(one.from_, one.to) for one in found] == [("phone", "edge"), ("edge", "phone")]
    assert all(len(agent.changed) == 1 for agent in agents.values())
    await shape(agents, {}, "rad*", "edge>phone")
    assert [len(agent.changed) for agent in agents.values()] == [1, 2]


async def test_one_no_and_nothing_was_changed_anywhere(agents: dict[str, Agent]) -> None:
    agents["m2"].refuses = True
    with pytest.raises(OtterError, match=r"m2: .*can't.*; nothing was changed on any machine"):
        await shape(agents, {}, "radio")
    assert agents["m1"].changed == []
    await shape(agents, {}, "radio", "phone>edge")  # that is none of m2's
    assert len(agents["m1"].changed) == 1


async def test_a_dry_run_asks_each_once_and_changes_nothing(agents: dict[str, Agent]) -> None:
    for direction in ("", "phone>edge"):  # of both machines, of one
        found = await shape(agents, {}, "radio", direction, check=True)
        assert len(found) == 2 - bool(direction)
    assert [agent.asked for agent in agents.values()] == [2, 1]
    agents["m2"].refuses = True
    with pytest.raises(OtterError, match=r"m2: .*can't.*; nothing was changed on any machine"):
        await shape(agents, {}, "radio", check=True)
    assert [agent.changed for agent in agents.values()] == [[], []]


async def test_who_fails_after_all_is_told_with_who_has_it(agents: dict[str, Agent]) -> None:
    agents["m2"].fails = True
    with pytest.raises(OtterError, match=r"m2: .*can't.*; changed on m1 alone"):
        await shape(agents, {}, "radio")


async def test_a_machine_that_is_lost_and_has_some_of_it(agents: dict[str, Agent]) -> None:
    there, lost = {"m1": agents["m1"]}, {"m2": SILENT}
    with pytest.raises(OtterError, match="no answer in 60 s; nothing was changed"):
        await shape(there, lost, "radio")
    assert agents["m1"].changed == []
    await shape(there, lost, "radio", "phone>edge")
    assert len(agents["m1"].changed) == 1


async def test_budgets_likewise(agents: dict[str, Agent]) -> None:
    changes = [api.BudgetChange(kind="host", name="*", set={"cpu": 0.5})]
    all_of_it = await parts(agents, {})
    await byhand.budgets(agents, all_of_it, "mesh", changes, check=False)
    assert [len(agent.changed) for agent in agents.values()] == [1, 1]
    agents["m2"].refuses = True
    with pytest.raises(OtterError, match="nothing was changed on any machine"):
        await byhand.budgets(agents, all_of_it, "mesh", changes, check=False)
    there = {"m1": agents["m1"]}
    lost = await parts(there, {"m2": SILENT})
    with pytest.raises(OtterError, match="nothing was changed on any machine"):
        await byhand.budgets(there, lost, "mesh", changes, check=False)
    module = [api.BudgetChange(kind="module", name="vqa", set={"cpu": 0.5})]
    with pytest.raises(OtterError, match="nothing was changed on any machine"):
        await byhand.budgets(there, lost, "mesh", module, check=False)
    assert [len(agent.changed) for agent in agents.values()] == [1, 1]
    mine = [api.BudgetChange(kind="host", name="phone", set={"cpu": 0.5})]
    await byhand.budgets(there, lost, "mesh", mine, check=False)
    assert len(agents["m1"].changed) == 2


async def test_what_only_another_machine_knows_of_a_lost_one_counts_too(
    agents: dict[str, Agent],
) -> None:
    """The first that is asked has nothing to do with it."""
    first = Agent("m0", "laptop", "desk")
    there = {"m0": first, "m1": agents["m1"]}
    found = await parts(there, {"m2": SILENT})
    alone = msgspec.structs.replace(found.parts["m0"].spec, links=(), away=())
    found.parts["m0"] = msgspec.structs.replace(found.parts["m0"], spec=alone)
    links = [api.LinkChange(link="*", set={"delay_s": 0.05})]
    with pytest.raises(OtterError, match="no answer in 60 s; nothing was changed"):
        await byhand.links(there, found, "mesh", links, check=False)
    hosts = [api.BudgetChange(kind="host", name="*", set={"cpu": 0.5})]
    with pytest.raises(OtterError, match="no answer in 60 s; nothing was changed"):
        await byhand.budgets(there, found, "mesh", hosts, check=False)
    assert first.changed == agents["m1"].changed == []


async def test_a_lost_machine_that_has_no_part_in_it_is_in_nobodys_way(
    agents: dict[str, Agent],
) -> None:
    found = await parts(agents, {"m3": SILENT})
    spec = found.parts["m1"].spec
    others = api.Away(machine="m3", hosts=("desk",), modules={})
    spec = msgspec.structs.replace(spec, away=(*spec.away, others))
    found.parts["m1"] = msgspec.structs.replace(found.parts["m1"], spec=spec)
    agents["m2"].ends = "edge", "elsewhere"  # one way alone was written down
    change = api.LinkChange(link="radio", set={"delay_s": 0.05})
    await byhand.links(agents, found, "mesh", [change], check=False)
    assert len(agents["m1"].changed) == 1
