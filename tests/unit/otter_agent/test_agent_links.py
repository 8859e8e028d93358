"""Links of a mesh of fake modules: the agent's whole loop, with a driver that moves no packet."""

from __future__ import annotations

import asyncio

import msgspec
import pytest
from helpers.world import World, module, settled, spec, until, until_text

from net.links.spec import LinkSpec
from otter_agent import api
from otter_agent.agent import Agent
from otter_agent.errors import AgentError
from otter_agent.links.base import Facts
from otter_agent.links.choose import Choice, choose
from otter_agent.links.fake import FakeLinks

LATE = LinkSpec(delay_s=0.02, rate_bps=1e6)


def mesh(forward: LinkSpec = LATE, **more: object) -> api.MeshSpec:
    made = spec(module("a"), module("b"))
    other = api.HostSpec(name="i", address="100.64.1.1", block="100.64.1.0/24")
    link = api.Link(name="radio", a="h", b="i", forward=forward, reverse=LinkSpec())
    return msgspec.structs.replace(made, hosts=(*made.hosts, other), links=(link,), **more)


def radio(agent: Agent) -> api.LinkStatus:
    return agent.mesh("mesh").links[0]


def driver(agent: Agent) -> FakeLinks:
    found = agent.machine.fake_links.driver
    assert isinstance(found, FakeLinks)
    return found


async def shape(agent: Agent, **values: object) -> list[api.LinkStatus]:
    return await agent.shape("mesh", [api.LinkChange(link="radio", set=values)], None)


@pytest.mark.slow
async def test_in_force_before_a_module_runs_and_gone_with_the_mesh(tmp_path):
    async with World(tmp_path).agent() as agent:
        agent.put_mesh(mesh())
        await settled(agent)
        assert radio(agent).driver == "fake"
        assert radio(agent).applied == {"delay_s": 0.02, "rate_bps": 1e6}
        await shape(agent, delay_s=0.5)
        assert radio(agent).applied == {"delay_s": 0.5, "rate_bps": 1e6}
        agent.destroy_mesh("mesh")
        await until(agent, "mesh", "mesh", "destroyed")
        agent.put_mesh(mesh())
        await settled(agent)
        assert radio(agent).layers == {"topology": {"delay_s": 0.02, "rate_bps": 1e6}}


async def test_no_module_runs_while_a_link_is_not_as_asked(tmp_path):
    async with World(tmp_path).agent() as agent:
        driver(agent).fails = {"radio": "somebody else's qdisc"}
        agent.put_mesh(mesh())
        event = await until_text(agent, "somebody else's qdisc")
        assert (event.kind, event.state) == ("network", "failed")
        status = agent.mesh("mesh")
        assert status.state == "degraded"
        assert {m.state for m in status.modules} <= {"pending", "starting"}
        driver(agent).fails = {}
        await until(agent, "mesh", "module", "ready", event.seq)
        assert (await settled(agent)).state == "ready"


@pytest.mark.slow
async def test_a_change_that_fails_is_tried_again_and_ends_no_module(tmp_path):
    async with World(tmp_path).agent() as agent:
        agent.put_mesh(mesh())
        before = [m.pid for m in (await settled(agent)).modules]
        driver(agent).fails = {"radio": "busy"}
        (failed, _) = await shape(agent, delay_s=0.5)
        assert "busy" in failed.error
        event = await until(agent, "mesh", "network", "failed")
        assert agent.mesh("mesh").state == "degraded"
        assert "busy" in agent.mesh("mesh").problem
        driver(agent).fails = {}
        await until_text(agent, "links are as asked again", event.seq)
        assert radio(agent).error == ""
        assert radio(agent).applied == {"delay_s": 0.5, "rate_bps": 1e6}
        assert [m.pid for m in agent.mesh("mesh").modules] == before


async def test_what_somebody_took_away_is_made_again(tmp_path):
    async with World(tmp_path).agent() as agent:
        agent.put_mesh(mesh())
        before = [m.pid for m in (await settled(agent)).modules]
        calls = driver(agent).calls
        await agent.links("mesh").look_again()
        assert driver(agent).calls == calls
        driver(agent).done.clear()
        await agent.links("mesh").look_again()
        assert (await until(agent, "mesh", "link", "failed")).subject == "radio:h>i"
        async with asyncio.timeout(10):
            while radio(agent).applied != {"delay_s": 0.02, "rate_bps": 1e6}:
                await asyncio.sleep(0)
        assert [m.pid for m in agent.mesh("mesh").modules] == before


@pytest.mark.slow
async def test_a_new_agent_goes_on_with_what_was_done_by_hand(tmp_path):
    world = World(tmp_path)
    async with world.agent() as agent:
        agent.put_mesh(mesh())
        await settled(agent)
        await shape(agent, delay_s=0.5)
    async with world.agent() as agent:
        await settled(agent)
        assert radio(agent).applied == {"delay_s": 0.5, "rate_bps": 1e6}


@pytest.mark.slow
async def test_other_properties_restart_nothing_and_keep_what_was_done_by_hand(tmp_path):
    async with World(tmp_path).agent() as agent:
        agent.put_mesh(mesh())
        before = [m.pid for m in (await settled(agent)).modules]
        await shape(agent, delay_s=0.5)
        agent.put_mesh(mesh(LinkSpec(delay_s=0.1, loss_ratio=0.5)))
        status = await settled(agent)
        assert status.links[0].applied == {"delay_s": 0.5, "loss_ratio": 0.5}
        assert [m.pid for m in status.modules] == before


async def test_links_have_the_seed_of_their_mesh_and_of_the_next_topology_its(tmp_path):
    async with World(tmp_path).agent() as agent:
        agent.put_mesh(mesh(seed=7))
        await settled(agent)
        assert {direction.seed for direction in driver(agent).done} == {7}
        driver(agent).done.clear()  # it would keep the directions that it knows
        agent.put_mesh(mesh(seed=8))
        await settled(agent)
        assert {direction.seed for direction in driver(agent).done} == {8}


@pytest.mark.slow
async def test_what_cannot_be_had_is_refused_before_anything_is_made(tmp_path):
    async with World(tmp_path).agent() as agent:
        driver(agent).refuses = {"rate_bps": "too fast"}
        with pytest.raises(AgentError, match="link radio:h>i: rate: fake: too fast") as refused:
            agent.put_mesh(mesh())
        assert refused.value.code == "unsupported-link"
        assert agent.meshes() == []
        agent.put_mesh(mesh(allow_degraded=True))
        await settled(agent)
        assert radio(agent).lacks == {"rate_bps": "fake: too fast"}
        assert radio(agent).applied == {"delay_s": 0.02}


async def test_a_mesh_that_goes_is_changed_no_more(tmp_path):
    async with World(tmp_path).agent() as agent:
        agent.put_mesh(mesh())
        await settled(agent)
        agent.destroy_mesh("mesh")
        with pytest.raises(AgentError, match="being destroyed"):
            await shape(agent, delay_s=0.5)
        await until(agent, "mesh", "mesh", "destroyed")
        with pytest.raises(AgentError, match="no mesh 'mesh'"):
            await shape(agent, delay_s=0.5)


# --- which driver --------------------------------------------------------------------------------


def test_the_one_that_is_asked_for(tmp_path):
    world = World(tmp_path)
    chosen = choose(world.layout, "fake")
    assert (chosen.name, chosen.told()[0].chosen) == ("fake", True)
    assert "the agent's configuration asks for it" in chosen.why


def test_none_works():
    facts = {"netem": Facts(usable=False, detail="no sch_netem")}
    choice = Choice(why="netem: no sch_netem", facts=facts)
    assert choice.name == "none"
    assert choice.refusals(LATE) == dict.fromkeys(
        ("delay_s", "rate_bps"), "no link driver works here (netem: no sch_netem)"
    )
    assert choice.refusals(LinkSpec()) == {}
