"""A topology's plan, from what its machines say: what `plan` shows and `apply` brings."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from otter_agent import api
from otter_ctl.cli import Session
from otter_ctl.cli.agents import reach
from otter_ctl.client import AgentClient
from otter_ctl.deploy import Prepared, check_runtimes, prepare
from otter_ctl.errors import AgentFault
from otter_ctl.planning.machines import assign
from otter_ctl.sites import site_paths
from otter_ctl.topology import Topology
from otter_ctl.topology.model import LOCAL, Machine

if TYPE_CHECKING:
    from otter_ctl.planning.tunnels import Measuring
    from otter_ctl.siting import Site
    from otter_ctl.spread import Fleet


def machines_of(topology: Topology) -> set[str]:
    """The machines that carry its hosts."""
    return set(assign(topology, None).values())


def reaching(session: Session, topology: Topology, *, force: bool = False) -> Fleet:
    """Who is asked about a topology; use with `async with`."""
    known: dict[str, Machine] = {}
    if site_paths():
        from otter_ctl.topology.site import known_machines

        known = known_machines(None)
    known |= {machine.name: machine for machine in topology.machines}
    return reach(session, known, force=force)


async def prepared_for(
    session: Session,
    fleet: Fleet,
    file: Path,
    overrides: Sequence[str],
    topology: Topology,
    measure: Measuring = "not",
) -> Prepared:
    """What is to be changed, on one machine or several. Changes nothing.

    `measure`: as of `siting.survey`.

    Raises:
        OtterError: It can't be planned, or machines that it names don't answer.
    """
    site = await _surveyed(session, fleet, topology, measure)
    if site is None:
        # No other machine has to answer for what is here alone.
        here = await fleet.agents.get(LOCAL)
        info = await here.info()
        current = await here.find_mesh(topology.name)
        return prepare(file, overrides, current, info, topology=topology)
    from otter_ctl.merging import merged

    parts = site.found.parts
    prepared = prepare(
        file,
        overrides,
        merged(parts, {}, site.found.directory) if parts else None,
        site.infos.get(LOCAL) or site.infos[site.names[0]],
        topology=topology,
        infos=site.infos,
        found=parts,
        wires=site.wires,
    )
    planned = replace(prepared.plan, warnings=(*prepared.plan.warnings, *site.warnings))
    return replace(prepared, plan=planned)


async def _surveyed(
    session: Session, fleet: Fleet, topology: Topology, measure: Measuring
) -> Site | None:
    """None: all of it is, and was, on this machine."""
    if fleet.is_alone:
        return None
    from otter_ctl.siting import survey

    facts = None
    if LOCAL in machines_of(topology) and not session.agent.answers():
        facts = await asyncio.to_thread(session.agent.facts)
    site = await survey(fleet, topology, facts, measure=measure)
    here = site.names == [LOCAL] and set(site.found.parts) <= {LOCAL}
    return None if here and LOCAL not in fleet.agents.machines else site


async def check_all(fleet: Fleet, prepared: Prepared) -> None:
    """Refuse what can't work on a machine, before anything is changed.

    Raises:
        OtterError: Says which module and what is missing.
    """
    if not prepared.parts:
        here = await fleet.agents.get(LOCAL)
        check_runtimes(prepared.plan.spec, await here.info())
        return
    for name, part in prepared.parts.items():
        check_runtimes(part, prepared.infos[name])


async def refusals(fleet: Fleet, prepared: Prepared) -> list[AgentFault]:
    """Why agents would refuse what is planned, as far as they answer."""
    if not prepared.parts:
        here = await fleet.agents.get(LOCAL)
        problems = await here.check_mesh(prepared.plan.spec)
        return [AgentFault(here.machine, problem) for problem in problems]
    from otter_ctl.many import each

    agents = await fleet.agents.of(prepared.parts)

    async def ask(name: str, agent: AgentClient) -> tuple[api.Problem, ...]:
        return await agent.check_mesh(prepared.parts[name])

    answers = await each(agents, ask)  # an agent that isn't started yet refuses nothing
    return [AgentFault(name, p) for name in sorted(answers.good) for p in answers.good[name]]
