"""Ends all meshes of a root whose agent isn't there any more: what is removed with OTTER itself.

An agent comes up once more, without an API, to take down what its predecessor kept. Must not know:
arguments, who asks.
"""

from __future__ import annotations

import asyncio
import os
from dataclasses import replace
from pathlib import Path

from otter_agent import collect
from otter_agent.agent import Agent
from otter_agent.api.places import places_of
from otter_agent.errors import AgentError
from otter_agent.layout import Layout
from otter_agent.machine import Config, Machine
from otter_agent.service import opened
from otter_agent.state import State, mesh_names

LIMIT_S = 120.0
"""Modules have some seconds to end, and an engine may be slow; then it says what is left."""
_LOOK_S = 0.1


def kept(config: Config) -> list[str]:
    """Names of the meshes that are to be there, whether an agent runs or hangs; changes nothing.

    Raises:
        AgentError: Its state can't be read.
        OSError: The root can't be read.
    """
    database = _database(config)
    return mesh_names(database) if database.exists() else []


def _database(config: Config) -> Path:
    """Of the agent that was, without making its folders."""
    places = places_of(config.root, os.geteuid(), os.environ)
    return Layout(places.run, places.lib).database


def sweep(config: Config, *, images: bool = False) -> bool:
    """Remove every mesh: modules, namespaces, links, budgets, folders.

    False: no agent was ever there, and nothing was made either.

    Args:
        config: Of the agent that was.
        images: Also images and environments that were built here; volumes stay.

    Raises:
        AgentError: An agent serves this root (`in-use`); its state is newer than this; or `failed`:
            says what could not be removed.
        OSError: The root can't be written.
    """
    if not _database(config).exists():  # an agent whose id is written nowhere owns nothing
        return False
    with opened(replace(config, idle_exit_s=_LOOK_S)) as (machine, state):
        state.end_meshes()  # before an agent looks: it starts nothing any more
        asyncio.run(_end(machine, state, images))
    return True


async def _end(machine: Machine, state: State, images: bool) -> None:
    started, idle, stop = asyncio.Event(), asyncio.Event(), asyncio.Event()
    agent = Agent(machine, state, on_idle=idle.set)
    try:
        async with asyncio.timeout(LIMIT_S), asyncio.TaskGroup() as group:
            group.create_task(agent.serve(started, stop), name="agent")
            await started.wait()
            for mesh in agent.meshes():
                agent.destroy_mesh(mesh.mesh)  # on a full disk it isn't written down
            await idle.wait()
            if images:
                await collect.prune(machine, frozenset(), dry_run=False)
            stop.set()
    except TimeoutError as error:
        raise AgentError("failed", f"not all could be removed: {_left(agent)}") from error


def _left(agent: Agent) -> str:
    """Meshes that are still there, and why."""
    told = [agent.mesh(summary.mesh) for summary in agent.meshes()]
    return ", ".join(f"{one.mesh} ({one.problem or 'it takes long'})" for one in told)
