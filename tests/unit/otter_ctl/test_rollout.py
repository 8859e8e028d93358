"""A plan comes to several machines, one of which says no, is silent, or had no epoch yet."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import time
from collections.abc import AsyncIterator, Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest
from msgspec.structs import replace

from net.errors import OtterError
from otter_agent import api
from otter_ctl import rollout
from otter_ctl.client import AgentClient
from otter_ctl.deploy import Prepared
from otter_ctl.errors import AgentFault, AgentUnreachable
from otter_ctl.planning.diff import Change
from otter_ctl.planning.model import Plan
from otter_ctl.spread import Fleet
from otter_ctl.topology.model import Machine

NAMES = ("m1", "m2")
NO = AgentFault("m2", api.Problem(code="port-taken", message="port 80 is taken"))
SILENT = AgentUnreachable("m2", "agent.sock", "no answer in 60 s")


class Agent(AgentClient):
    """Takes parts in memory; knows no modules, so that a mesh has settled at once."""

    def __init__(self, name: str) -> None:
        super().__init__(Path("/nowhere"), name)
        self.held: api.MeshStatus | None = None
        self.told = api.TimelineStatus(mesh="mesh", state="waiting", position_s=0.0)
        self.fails: OtterError | None = None
        self.takes_first: bool = False
        self.late_for: asyncio.Event | None = None
        self.asked = asyncio.Event()
        self.puts: list[api.MeshSpec] = []
        self.tries: list[bool] = []
        self.checked: list[int | None] = []
        self.sent: list[str] = []
        self.asked_for = 0
        self.shown = 0
        self.by_now: api.MeshStatus | None = None

    async def put_mesh(
        self, spec: api.MeshSpec, *_: Any, retry: bool = True, **__: Any
    ) -> api.MeshStatus:
        self.asked.set()
        self.puts.append(spec)
        self.tries.append(retry)
        fails, self.fails = self.fails, None
        if fails is None or self.takes_first:
            self.held = status(spec)
        if self.late_for is not None:
            await self.late_for.wait()
            for _turn in range(100):  # whoever hears of the other one's answer has their turn
                await asyncio.sleep(0)
        if fails is not None:
            raise fails
        return status(spec)

    async def find_mesh(self, name: str) -> api.MeshStatus | None:
        self.asked_for += 1
        return self.held and replace(self.held, timeline=self.told.state)

    async def mesh(self, name: str) -> api.MeshStatus:
        status = self.by_now or self.held
        assert status is not None
        return replace(status, timeline=self.told.state)

    async def destroy(self, name: str) -> None:
        fails, self.fails = self.fails, None
        if fails is not None:
            raise fails
        self.held = None
        raise AgentFault(self.machine, api.Problem(code="not-found", message="gone"))

    @contextlib.asynccontextmanager
    async def events(self, **_: Any) -> AsyncIterator[AsyncIterator[api.Event]]:
        async def none() -> AsyncIterator[api.Event]:
            return
            yield

        yield none()

    async def timeline(self, mesh: str, **_: Any) -> api.TimelineStatus:
        self.shown += 1
        return self.told

    async def order_timeline(
        self, mesh: str, order: api.TimelineOrder, at: float | None = None
    ) -> api.TimelineStatus:
        self.told = api.TimelineStatus(mesh=mesh, state="running", position_s=0.0, epoch=at)
        return self.told

    async def clock(self) -> api.ClockReading:
        return api.ClockReading(wall_s=time.time(), monotonic_s=time.monotonic())

    async def lease(self, mesh: str, lease: api.Lease) -> None: ...

    async def check_mesh(
        self, spec: api.MeshSpec, generation: int | None = None
    ) -> tuple[api.Problem, ...]:
        self.checked.append(generation)
        missing = tuple(spec.blobs() - set(self.sent))
        lacks = api.Problem(code="missing-blobs", message="some", missing=missing)
        return (lacks,) if missing else ()

    async def send(self, some: Iterable[str], uploads: Mapping[str, Any]) -> None:
        self.sent += some


def part(name: str) -> api.MeshSpec:
    away = tuple(api.Away(machine=other, hosts=()) for other in NAMES if other != name)
    return api.MeshSpec(name="mesh", run="r", hosts=(), modules=(), machine=name, away=away)


def status(spec: api.MeshSpec) -> api.MeshStatus:
    return api.MeshStatus(
        mesh=spec.name, state="ready", generation=1, settled=1, machines=(), hosts=(), modules=(),
        links=(), spec=spec,
    )  # fmt: skip


@pytest.fixture
def agents() -> dict[str, Agent]:
    return {name: Agent(name) for name in NAMES}


@pytest.fixture
def fleet(agents: dict[str, Agent]) -> Fleet:
    fleet = Fleet(Path("/nowhere"), {name: Machine(name=name) for name in NAMES})
    fleet.agents._clients.update(agents)
    return fleet


def prepared(currents: Mapping[str, api.MeshStatus] = MappingProxyType({})) -> Prepared:
    parts = {name: part(name) for name in NAMES}
    changes = [Change("create", "mesh", "mesh", ())]
    return Prepared(None, Plan(part("m1")), None, changes, {}, parts, currents)  # type: ignore[arg-type]


async def bring(
    fleet: Fleet, currents: Mapping[str, api.MeshStatus] = MappingProxyType({})
) -> api.MeshStatus:
    return await rollout.bring(fleet, prepared(currents), lambda event: None, wait=True)


async def test_one_epoch_for_all(fleet: Fleet, agents: dict[str, Agent]) -> None:
    await bring(fleet)
    assert {agent.told.state for agent in agents.values()} == {"running"}


async def test_what_was_told_long_before_the_others_were_ready_is_asked_again(
    fleet: Fleet, agents: dict[str, Agent], monkeypatch: pytest.MonkeyPatch
) -> None:
    agents["m1"].by_now = replace(status(part("m1")), state="degraded")
    assert (await bring(fleet)).state == "ready"
    agents["m1"].told = agents["m2"].told = replace(agents["m1"].told, state="waiting")
    monkeypatch.setattr(rollout, "FRESH_S", 0.0)
    assert (await bring(fleet)).state == "degraded"
    assert {agent.told.state for agent in agents.values()} == {"waiting"}


async def test_who_is_late_to_say_that_it_took_its_part_goes_back_too(
    fleet: Fleet, agents: dict[str, Agent]
) -> None:
    agents["m2"].fails = NO
    agents["m1"].late_for = agents["m2"].asked
    with pytest.raises(OtterError, match=r"port 80 is taken; m1 went back"):
        await bring(fleet)
    assert agents["m1"].held is None


async def test_who_took_its_part_and_could_not_say_so_goes_back_too(
    fleet: Fleet, agents: dict[str, Agent]
) -> None:
    agents["m2"].fails = SILENT
    agents["m2"].takes_first = True
    with pytest.raises(OtterError, match=r"no answer in 60 s; m1, m2 went back"):
        await bring(fleet)
    assert [agent.held for agent in agents.values()] == [None, None]


async def test_back_goes_only_what_has_changed(fleet: Fleet, agents: dict[str, Agent]) -> None:
    former = replace(part("m2"), seed=5)
    currents = {"m1": status(part("m1")), "m2": status(former)}
    for name, agent in agents.items():
        agent.held = currents[name]
    agents["m2"].fails = SILENT
    with pytest.raises(OtterError, match=r"no answer in 60 s; m1, m2 went back"):
        await bring(fleet, currents)
    assert [agent.puts for agent in agents.values()] == [[], [part("m2"), former]]


async def test_a_mesh_that_waits_for_its_epoch_gets_it_from_the_next_apply(
    fleet: Fleet, agents: dict[str, Agent]
) -> None:
    for name, agent in agents.items():
        agent.held = status(part(name))
    await rollout.complete(fleet, prepared((await fleet.places.look("mesh")).parts))
    first = [agent.told for agent in agents.values()]
    assert {told.state for told in first} == {"running"}
    await rollout.complete(fleet, prepared((await fleet.places.look("mesh")).parts))
    assert [agent.told for agent in agents.values()] == first


async def test_one_who_is_late_takes_the_epoch_of_the_others(
    fleet: Fleet, agents: dict[str, Agent]
) -> None:
    epoch = time.time() - 60
    agents["m1"].told = api.TimelineStatus(
        mesh="mesh", state="running", position_s=60.0, epoch=epoch
    )
    for name, agent in agents.items():
        agent.held = status(part(name))
    await rollout.complete(fleet, prepared((await fleet.places.look("mesh")).parts))
    assert agents["m2"].told.state == "running"
    assert agents["m2"].told.epoch == pytest.approx(epoch, abs=1.0)


async def test_nobody_is_asked_again_what_it_has_just_told(
    fleet: Fleet, agents: dict[str, Agent]
) -> None:
    """Of a thousand machines each question is a thousand."""
    made = await bring(fleet)
    assert made.spec.name == "mesh"
    assert [agent.asked_for for agent in agents.values()] == [0, 0]
    assert [agent.checked for agent in agents.values()] == [[0], [0]]  # planned for no mesh there
    assert set(fleet.places._where["mesh"]) == set(NAMES)


async def test_how_long_ahead_an_epoch_is_to_be_is_asked_where_something_goes_by_it(
    fleet: Fleet, agents: dict[str, Agent]
) -> None:
    await bring(fleet)
    assert [agent.shown for agent in agents.values()] == [0, 0]
    played = api.TimelineSpec(events=(api.TimelineEvent(at_s=1.0, hosts=("a",)),))
    for name, agent in agents.items():
        agent.told = replace(agent.told, state="waiting", lead_s=50.0)
        agent.held = status(replace(part(name), timeline=played) if name == "m1" else part(name))
    begun = time.time()
    await rollout.complete(fleet, prepared((await fleet.places.look("mesh")).parts))
    assert [agent.shown for agent in agents.values()] == [1, 1]
    assert all((agent.told.epoch or 0.0) >= begun + 50.0 for agent in agents.values())


async def test_what_a_machine_lacks_is_sent_to_it_alone(
    fleet: Fleet, agents: dict[str, Agent]
) -> None:
    digest = "a" * 64
    listed = {name: replace(part(name), directory=digest) for name in NAMES}
    asked = dataclasses.replace(prepared(), parts=listed, uploads={digest: lambda: b""})
    agents["m1"].sent.append(digest)  # of an earlier apply
    fleet.places._directories[digest] = api.Directory(names={}, machines=())
    await rollout.bring(fleet, asked, lambda event: None, wait=True)
    assert [agent.sent for agent in agents.values()] == [[digest], [digest]]


async def test_parts_name_a_machine_that_the_mesh_leaves_until_it_has_nothing_of_it(
    fleet: Fleet, agents: dict[str, Agent]
) -> None:
    former = Agent("m3")
    former.fails = SILENT
    fleet.agents.machines["m3"] = Machine(name="m3")
    fleet.agents._clients["m3"] = former
    currents = {"m3": status(part("m3"))}
    with pytest.raises(OtterError):  # as if it had been killed by now
        await bring(fleet, currents)
    assert [agents[name].puts[-1].left for name in NAMES] == [("m3",), ("m3",)]
    await bring(fleet, currents)
    assert [agents[name].puts[-1].left for name in NAMES] == [(), ()]
    assert former.puts == []


async def test_the_second_put_tries_nothing_again_that_has_just_failed(
    fleet: Fleet, agents: dict[str, Agent]
) -> None:
    fleet.agents.machines["m3"] = Machine(name="m3")
    fleet.agents._clients["m3"] = Agent("m3")
    await bring(fleet, {"m3": status(part("m3"))})
    assert [agent.tries for agent in agents.values()] == [[True, False]] * 2


async def test_with_keep_partial_a_machine_keeps_its_part_until_all_others_have_theirs(
    fleet: Fleet, agents: dict[str, Agent]
) -> None:
    former = Agent("m3")
    former.held = status(part("m3"))
    fleet.agents.machines["m3"] = Machine(name="m3")
    fleet.agents._clients["m3"] = former
    agents["m2"].fails = NO
    asked = prepared({"m3": former.held})
    with pytest.raises(OtterError, match=r"is partial: m1 of .* have taken theirs: m3") as caught:
        await rollout.bring(fleet, asked, lambda event: None, wait=True, keep_partial=True)
    assert "port 80 is taken" in str(caught.value)
    assert former.held is not None
    await bring(fleet, {"m3": former.held})
    assert former.held is None


class Last(Agent):
    """As it goes another one falls silent."""

    other: Agent

    async def destroy(self, name: str) -> None:
        self.other.fails = SILENT
        await super().destroy(name)


async def test_nobody_goes_back_once_a_mesh_has_left_a_machine(
    fleet: Fleet, agents: dict[str, Agent]
) -> None:
    former = Last("m3")
    former.other = agents["m2"]
    fleet.agents.machines["m3"] = Machine(name="m3")
    fleet.agents._clients["m3"] = former
    with pytest.raises(OtterError, match=r"no answer in 60 s; mesh mesh is partial: m1 of its"):
        await bring(fleet, {"m3": status(part("m3"))})
    assert [[put.left for put in agent.puts] for agent in agents.values()] == [[("m3",), ()]] * 2
