"""An agent with the fake runtime, in memory but for sqlite and folders; and words to wait with."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from otter_agent import api
from otter_agent.agent import Agent
from otter_agent.api.places import places_of
from otter_agent.errors import ImageError
from otter_agent.ground.ground import Ground
from otter_agent.images.fake import FakeImages
from otter_agent.layout import Layout
from otter_agent.machine import Config, Machine
from otter_agent.network import Network
from otter_agent.runtimes.fake import FakeRuntime
from otter_agent.state import State
from otter_agent.supervision import Patience

DEADLINE_S = 20.0
HASTE = Patience(backoff_s=0.01, moment_s=0.002, ground_s=0.02, step_s=1.0)


class BrokenImages(FakeImages):
    """An image store in which one module's build fails while `broken`."""

    broken = True

    async def ensure(self, module, log):
        if module.name == "broken" and self.broken:
            log("Step 3/4 : RUN false")
            error = ImageError("fake", "build", module.name, "step 3 exited with 1")
            error.tail = ("Step 3/4 : RUN false", "exit status 1")
            raise error
        return await super().ensure(module, log)


def spec(*modules: api.ModuleSpec, name: str = "mesh") -> api.MeshSpec:
    host = api.HostSpec(name="h", address="100.64.0.1", block="100.64.0.0/24")
    names = {"h": host.address} | {m.name: m.address for m in modules}
    return api.MeshSpec(name=name, run="r", hosts=(host,), modules=modules, names=names)


def module(name: str = "m", *words: str, **more) -> api.ModuleSpec:
    return api.ModuleSpec(
        name=name, host="h", address="100.64.0.2", runtime="fake", command=words or ("run",), **more
    )


class World:
    """An agent that can be started and ended as often as a test likes; its runtime lives on."""

    def __init__(self, tmp_path, images=None):
        self.places = places_of(tmp_path, 0, {})
        self.layout = Layout(self.places.run, self.places.lib)
        self.runtime = FakeRuntime()
        self.images = images or FakeImages()

    @asynccontextmanager
    async def agent(self, idle=None):
        state = State(self.layout.database)
        machine = Machine(
            ground=Ground(places=self.places), config=Config(idle_exit_s=idle, patience=HASTE),
            agent_id=state.agent_id(),
            network=Network(state.agent_id()), cgroups=None, runtimes={"fake": self.runtime},
            stores={"fake": self.images}, problems={"network": "none here"},
        )  # fmt: skip
        started, stop = asyncio.Event(), asyncio.Event()
        agent = Agent(machine, state, on_idle=stop.set)
        self.stopped = stop
        async with asyncio.TaskGroup() as group:
            group.create_task(agent.serve(started, stop))
            await started.wait()
            try:
                async with asyncio.timeout(DEADLINE_S):
                    yield agent
            finally:
                stop.set()
        state.close()


async def each(agent: Agent, mesh: str, since: int) -> AsyncIterator[api.Event]:
    async for batch in agent.events(mesh=mesh, since=since, follow=True):
        for event in batch:
            yield event


async def until(agent: Agent, mesh: str, kind: str, state: str, since: int = 0) -> api.Event:
    async for event in each(agent, mesh, since):
        if (event.kind, event.state) == (kind, state):
            return event
    raise AssertionError("events ended")


async def settled(agent: Agent, mesh: str = "mesh") -> api.MeshStatus:
    since = 0
    while True:
        status = agent.mesh(mesh)
        if status.settled == status.generation:
            return status
        since = (await until(agent, mesh, "mesh", "settled", since)).seq


def states(status: api.MeshStatus) -> dict[str, str]:
    return {m.name: m.state for m in status.modules}


async def until_text(agent: Agent, text: str, since: int = 0) -> api.Event:
    async for event in each(agent, "mesh", since):
        if text in event.text:
            return event
    raise AssertionError("events ended")
