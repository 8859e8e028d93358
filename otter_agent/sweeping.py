"""Ends all meshes of a root whose agent isn't there any more: what is removed with OTTER itself.

An agent comes up once more, without an API, to take down what its predecessor kept. Must not know:
arguments, who asks.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from net.errors import OtterError
from otter_agent.agent import Agent
from otter_agent.api.places import places_of
from otter_agent.errors import AgentError
from otter_agent.following import FIRST_S, listed
from otter_agent.images.base import Remembers
from otter_agent.layout import Layout
from otter_agent.machine import Config, Machine
from otter_agent.runtimes.base import Closes
from otter_agent.service import opened
from otter_agent.state import State, mesh_names

LIMIT_S = 120.0
"""Modules have some seconds to end, and an engine may be slow; then it says what is left."""
IMAGES_S = 1800.0
"""For what one store has built: 10 GB on a small computer's card take minutes."""
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
            says what could not be removed. Where a runtime of its modules can't be asked, nothing
            is: a later sweep still knows of all.
        OSError: The root can't be written.
    """
    if not _database(config).exists():  # an agent whose id is written nowhere owns nothing
        return False
    with opened(replace(config, idle_exit_s=_LOOK_S)) as (machine, state):
        asyncio.run(_end(machine, state, images))
    return True


async def _end(machine: Machine, state: State, images: bool) -> None:
    used = sorted(state.runtimes() & machine.runtimes.keys())
    try:
        lacking = [why for name in used if (why := await _no_answer(machine, name))]
        if lacking:
            raise _unasked(lacking)
        await _take_down(machine, state, used)
        if images and (said := await _prune(machine)):
            hint = "mend that and sweep again; without --images what was built stays"
            raise AgentError("failed", "; ".join(said), hint=hint)
    finally:
        for driver in (*machine.runtimes.values(), *machine.stores.values()):
            if isinstance(driver, Closes):
                await driver.aclose()


async def _no_answer(machine: Machine, name: str) -> str:
    """Why a runtime can't say what it has; "" if it can."""
    try:
        await listed(name, machine.runtimes[name], FIRST_S)
    except OtterError as error:
        return str(error)
    return ""


def _unasked(lacking: list[str]) -> AgentError:
    """An agent that lives on removes what such an engine has once it is back; nobody does here."""
    return AgentError(
        "failed",
        f"what meshes have there can't be removed now: {'; '.join(lacking)}",
        hint="start it and sweep again; where it is gone for good, `otterctl destroy` does without",
    )


async def _take_down(machine: Machine, state: State, used: Sequence[str]) -> None:
    state.end_meshes()  # before an agent looks: it starts nothing any more
    started, idle, stop = asyncio.Event(), asyncio.Event(), asyncio.Event()
    agent = Agent(machine, state, on_idle=idle.set)
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(agent.serve(started, stop), name="agent")
            async with asyncio.timeout(LIMIT_S):
                await started.wait()
                if lacking := [why for name in used if (why := machine.problems.get(name))]:
                    raise _unasked(lacking)  # it has just gone: nothing is forgotten yet
                for mesh in agent.meshes():
                    agent.destroy_mesh(mesh.mesh)  # on a full disk it isn't written down
                await idle.wait()
            stop.set()
    except BaseExceptionGroup as errors:
        first = _first(errors)
        if not isinstance(first, TimeoutError):
            raise first from errors
        left = _left(agent) or f"its agent took over {LIMIT_S:g} s to begin"
        raise AgentError("failed", f"not all could be removed: {left}") from errors


async def _prune(machine: Machine) -> list[str]:
    """Remove what was built, store by store; why some of it stays."""
    said = []
    for name, store in machine.stores.items():
        if why := machine.problems.get(name):
            if isinstance(store, Remembers) and store.has_made():
                said.append(f"what {name} has built can't be removed now: {why}")
            continue
        try:
            async with asyncio.timeout(IMAGES_S):
                await store.prune(frozenset())
        except TimeoutError:
            said.append(f"what {name} has built is not all gone after {IMAGES_S:g} s")
        except OtterError as error:
            said.append(str(error))
    return said


def _first(errors: BaseException) -> BaseException:
    """What ended it, of a group of groups."""
    while isinstance(errors, BaseExceptionGroup):
        errors = errors.exceptions[0]
    return errors


def _left(agent: Agent) -> str:
    """Meshes that are still there, and why."""
    told = [agent.mesh(summary.mesh) for summary in agent.meshes()]
    return ", ".join(f"{one.mesh} ({one.problem or 'it takes long'})" for one in told)
