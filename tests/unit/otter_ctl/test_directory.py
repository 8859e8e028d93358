"""What parts leave to a mesh's directory is told by any machine that has it."""

from __future__ import annotations

from pathlib import Path

import pytest

from otter_agent import api
from otter_ctl.client import AgentClient
from otter_ctl.errors import AgentUnreachable
from otter_ctl.spread import Fleet
from otter_ctl.topology.model import Machine

NAMES = ("m1", "m2")
LISTED = api.Directory(
    names={"phone": "100.64.0.1"},
    machines=tuple(api.Away(machine=name, hosts=(), modules={}) for name in NAMES),
)


class Agent(AgentClient):
    """Has a part of a mesh on many machines."""

    def __init__(self, name: str) -> None:
        super().__init__(Path("/nowhere"), name)
        self.forgetful = False

    async def find_mesh(self, name: str) -> api.MeshStatus | None:
        spec = api.MeshSpec(name=name, run="r", machine=self.machine, directory="0" * 64)
        return api.MeshStatus(
            mesh=name, state="ready", generation=1, settled=1, machines=(), hosts=(), modules=(),
            links=(), spec=spec,
        )  # fmt: skip

    async def directory(self, mesh: str) -> api.Directory:
        if self.forgetful:
            raise AgentUnreachable(self.machine, "agent.sock", "no answer")
        return LISTED


async def test_one_machine_that_cannot_tell_it_hides_nothing() -> None:
    agents = {name: Agent(name) for name in NAMES}
    fleet = Fleet(Path("/nowhere"), {name: Machine(name=name) for name in NAMES})
    fleet.agents._clients.update(agents)
    agents["m1"].forgetful = True
    found = await fleet.places.look("m")
    assert found.directory == LISTED
    assert sorted(found.parts) == sorted(NAMES)


async def test_where_nobody_can_it_is_said_why() -> None:
    agents = {name: Agent(name) for name in NAMES}
    fleet = Fleet(Path("/nowhere"), {name: Machine(name=name) for name in NAMES})
    fleet.agents._clients.update(agents)
    for agent in agents.values():
        agent.forgetful = True
    with pytest.raises(AgentUnreachable, match="no answer"):
        await fleet.places.look("m")
