"""Asks machines what they are: one SSH connection each, all at the same time.

What can't be reached is told beside what can: one machine's trouble hides no other's.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from net.errors import OtterError
from otter_agent import api
from otter_ctl.client import AgentClient
from otter_ctl.connection import Open
from otter_ctl.dialling import Throttle
from otter_ctl.enclosed import enclosed
from otter_ctl.errors import AgentUnreachable, RemoteError
from otter_ctl.machine.checks import Seen
from otter_ctl.machine.elevate import Elevated
from otter_ctl.machine.wheel import own_wheel
from otter_ctl.ssh import Road
from otter_ctl.topology.model import Machine

ANSWER_S = 30.0


@dataclass(frozen=True, slots=True)
class Line:
    """One machine of `machine ls`.

    Attributes:
        why: It can't be reached, or its agent doesn't answer.
        info: None: its agent doesn't answer.
    """

    machine: Machine
    reachable: bool
    why: str
    info: api.Info | None


def no_password() -> str:
    """Looking never needs to be root."""
    raise AssertionError("looking asks for no password")


async def look(road: Road) -> Seen:
    """All about one machine. Raises RemoteError if it can't be reached."""
    await road.connect()
    facts = await Elevated(road, no_password).facts()
    offset, error = await _clock(road)
    info, silence = await agent_of(road)
    own = own_wheel()
    return Seen(facts, offset, error, info, silence, own.release, own.version, road.by_hand)


async def _clock(road: Road) -> tuple[float | None, float]:
    """Its clock to ours, and half of the time that asking took: what that is off at most."""
    began = time.time()
    done = await road.run("date +%s.%N", limit_s=ANSWER_S)
    took = time.time() - began
    try:
        return float(done.last) - (began + took / 2), took / 2
    except ValueError:
        return None, 0.0


async def agent_of(road: Road) -> tuple[api.Info | None, str]:
    """What a machine's agent says, or why it doesn't."""
    return await _asked(road.machine, road.open(road.machine.socket))


async def _asked(machine: Machine, way: Open | None) -> tuple[api.Info | None, str]:
    try:
        async with (
            asyncio.timeout(ANSWER_S),
            AgentClient(Path(machine.socket), machine.name, way) as client,
        ):
            return await client.info(), ""
    except TimeoutError:
        return None, f"its agent gave no answer in {ANSWER_S:g} s"
    except AgentUnreachable as error:
        return None, f"no agent answers at {error.socket}: {error.why}"
    except RemoteError as error:
        return None, error.message.removeprefix(f"{error.machine}: ")


async def list_all(machines: Sequence[Machine]) -> list[Line]:
    """Of every machine whether it is there, and its agent."""
    throttle = Throttle()

    async def one(machine: Machine) -> Line:
        if machine.docker is not None or machine.direct:
            way = enclosed(machine.docker, machine.socket) if machine.docker is not None else None
            info, why = await _asked(machine, way)
            return Line(machine, reachable=info is not None, why=why, info=info)
        try:
            async with Road(machine, throttle) as road:
                await road.connect()
                info, why = await agent_of(road)
                return Line(machine, reachable=True, why=why, info=info)
        except OtterError as error:
            said = str(error).removeprefix(f"{machine.name}: ")
            return Line(machine, reachable=False, why=said, info=None)

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(one(machine)) for machine in machines]
    return [task.result() for task in tasks]
