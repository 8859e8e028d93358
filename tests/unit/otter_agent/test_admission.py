"""Budgets fit the machine, or a mesh isn't let in; and plans that came too late."""

from __future__ import annotations

import msgspec
import pytest
from helpers.world import World, module, settled, spec

from otter_agent import api
from otter_agent.admission import Holding, Room, admit
from otter_agent.changed import check_unchanged
from otter_agent.errors import AgentError
from otter_agent.state import DesiredMesh

ROOM = Room(2, 8 << 30)


def asks(cpu: float, mesh: str = "new", **more) -> Holding:
    return Holding(mesh, 0, cpu, more.pop("memory_bytes", 0), **more)


def test_what_fits_is_let_in():
    admit(asks(0.5), None, [asks(1.5, "old")], ROOM)
    admit(asks(0.1), None, [asks(1.8, "a"), asks(0.1, "b")], ROOM)  # 2.0000000000000004


def test_what_does_not_fit_is_told_who_holds_what():
    with pytest.raises(AgentError) as caught:
        admit(asks(1.0), None, [asks(1.5, "old", memory_bytes=1 << 30), asks(0.0, "idle")], ROOM)
    assert caught.value.code == "overcommit"
    assert "2.5 of 2 cores" in str(caught.value)
    assert "mesh old of root 1.5 cores and 1GiB" in str(caught.value)
    assert "idle" not in str(caught.value)
    assert "overcommit = true" in caught.value.hint
    with pytest.raises(AgentError, match="9GiB of 8GiB of memory"):
        admit(asks(0.0, memory_bytes=9 << 30), None, [], ROOM)


def test_who_says_so_is_let_in():
    admit(asks(5.0, overcommit=True), None, [asks(1.5, "old")], ROOM)


def test_one_that_was_let_in_is_not_refused_for_what_others_were_allowed():
    others = [asks(5.0, "greedy", overcommit=True)]
    admit(asks(1.0), asks(1.0), others, ROOM)
    admit(asks(0.5), asks(1.0), others, ROOM)
    with pytest.raises(AgentError):
        admit(asks(1.1), asks(1.0), others, ROOM)  # it asks for more
    with pytest.raises(AgentError):
        admit(asks(1.0), asks(1.0, overcommit=True), others, ROOM)  # it was never let in


def with_host(mesh: api.MeshSpec, **fields) -> api.MeshSpec:
    hosts = tuple(msgspec.structs.replace(h, **fields) for h in mesh.hosts)
    return msgspec.structs.replace(mesh, hosts=hosts)


async def test_the_agent_refuses_and_marks(tmp_path):
    world = World(tmp_path)
    async with world.agent() as agent:
        cores = agent.machine.room.cpus
        agent.put_mesh(with_host(spec(module(), name="one"), cpu=cores - 0.5))
        too_much = with_host(spec(module(), name="two"), cpu=1.0)
        with pytest.raises(AgentError, match="mesh one"):
            agent.put_mesh(too_much)
        assert [m.mesh for m in agent.meshes()] == ["one"]
        assert agent.meshes()[0].overcommit == ""
        agent.put_mesh(msgspec.structs.replace(too_much, overcommit=True))
        marked = f"{cores + 0.5:g} of {cores} cores"
        assert {m.mesh: m.overcommit for m in agent.meshes()} == {"one": marked, "two": marked}
        assert agent.mesh("two").overcommit == marked
        agent.put_mesh(with_host(spec(module(), name="three")))  # no budget: nothing promised


DESIRED = DesiredMesh(spec(module()), 3, False, author=0, changed=1000.0)


@pytest.mark.parametrize(
    ("now", "made_for", "said"),
    [
        (None, None, None), (None, 0, None), (DESIRED, None, None), (DESIRED, 3, None),
        (DESIRED, 2, r"was changed by root at \d\d:\d\d:\d\d.*generation 2, now 3"),
        (DESIRED, 0, "was made by root"), (None, 3, "was destroyed"),
    ],
)  # fmt: skip
def test_plans_that_came_too_late(now, made_for, said):
    if said is None:
        check_unchanged(spec(module()), now, made_for)
        return
    with pytest.raises(AgentError, match=said) as caught:
        check_unchanged(spec(module()), now, made_for)
    assert caught.value.code == "changed"


def test_a_mesh_made_anew_meanwhile_is_another():
    other = msgspec.structs.replace(spec(module()), run="another")
    with pytest.raises(AgentError):
        check_unchanged(other, DESIRED, 3)


async def test_owner_and_author_are_remembered(tmp_path):
    world = World(tmp_path)
    async with world.agent() as agent:
        agent.put_mesh(spec(module()), author=1234)
        agent.put_mesh(spec(module(env={"A": "1"})), author=0, made_for=1)
        await settled(agent)
    async with world.agent() as agent:
        assert agent.owner_of("mesh") == 1234
        assert (agent.mesh("mesh").owner, agent.mesh("mesh").changed_by) == ("uid 1234", "root")
        assert [m.mine for m in agent.meshes(1234)] == [True]
        assert [m.mine for m in agent.meshes(0)] == [False]
        with pytest.raises(AgentError, match="changed by root"):
            agent.put_mesh(spec(module()), author=1234, made_for=1)


async def test_a_state_of_the_first_schema_is_taken_over(tmp_path):
    """Its meshes are nobody's: whoever applies one first owns it."""
    import sqlite3

    world = World(tmp_path)
    async with world.agent() as agent:
        agent.put_mesh(spec(module()), author=5)
        await settled(agent)
    with sqlite3.connect(world.layout.database) as old:
        old.executescript("""
            ALTER TABLE meshes DROP COLUMN owner; ALTER TABLE meshes DROP COLUMN author;
            ALTER TABLE meshes DROP COLUMN changed; ALTER TABLE events DROP COLUMN data;
            DROP TABLE shapes; DROP TABLE timelines;
            UPDATE meta SET value='1' WHERE key='schema';
        """)
    old.close()
    async with world.agent() as agent:
        assert agent.owner_of("mesh") is None
        assert agent.put_mesh(spec(module()), author=7).generation == 1
        assert agent.owner_of("mesh") == 7
