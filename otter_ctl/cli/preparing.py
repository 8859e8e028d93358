"""A topology's plan, from what its machines say: what `plan` shows and `apply` brings."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import time
from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from otter_agent import api
from otter_ctl.cli import Session
from otter_ctl.cli.agents import reach
from otter_ctl.client import AgentClient
from otter_ctl.deploy import Prepared, check_runtimes, check_version, prepare
from otter_ctl.errors import AgentFault, PlanError, RemoteError
from otter_ctl.planning.hosting import candidates
from otter_ctl.sites import site_paths
from otter_ctl.topology import Topology
from otter_ctl.topology.model import LOCAL, Machine

if TYPE_CHECKING:
    from otter_ctl.planning.tunnels import Measuring
    from otter_ctl.siting import Site
    from otter_ctl.spread import Fleet


def machines_of(topology: Topology) -> set[str]:
    """The machines that may carry its hosts."""
    return {name for machines in candidates(topology).values() for name in machines}


def needs_this(topology: Topology) -> bool:
    """Whether some host is on this machine whatever becomes of the others."""
    return any(machines == (LOCAL,) for machines in candidates(topology).values())


@contextlib.contextmanager
def located(topology: Topology) -> Iterator[None]:
    """What can't be planned is told with the file and line where it is written."""
    try:
        yield
    except PlanError as error:
        from otter_ctl.topology.locate import locate

        locate(error, topology)
        raise


def reaching(
    session: Session,
    topology: Topology,
    *,
    force: bool = False,
    without: Collection[str] = (),
    reads_only: bool = False,
) -> Fleet:
    """Who is asked about a topology; use with `async with`. `reads_only`: as of `ApiClient`.

    Machines that are left out are known, as one that answers is emptied; but they build nothing.
    """
    known: dict[str, Machine] = {}
    if site_paths():
        from otter_ctl.topology.site import known_machines

        known = known_machines(None)
    known |= {machine.name: machine for machine in topology.machines}
    known |= {n: replace(known[n], builder=False) for n in without if n in known}
    return reach(session, known, force=force, reads_only=reads_only)


async def prepared_for(
    session: Session,
    fleet: Fleet,
    file: Path,
    overrides: Sequence[str],
    topology: Topology,
    measure: Measuring = "not",
    without: Sequence[str] = (),
    *,
    partly: bool = False,
) -> Prepared:
    """What is to be changed, on one machine or several. Changes nothing.

    `measure`, `without`, `partly`: as of `siting.survey`; `topology` lacks the second by now.

    Raises:
        OtterError: It can't be planned, or machines that it names don't answer.
    """
    for name in without:
        if name not in fleet.agents.machines:
            known = ", ".join(fleet.agents.machines) or "none"
            why = "neither the topology nor the site file knows such a machine"
            raise PlanError(f"--without {name}", why, hint=f"there are: {known}")
    site = await _surveyed(session, fleet, topology, measure, without, partly=partly)
    if site is None or _is_here(fleet, site):
        # No other machine has to answer for what is here alone.
        here = await fleet.agents.get(LOCAL)
        if site is not None and not session.agent.answers():
            info, current = site.infos[LOCAL], None
        else:
            check_version(LOCAL, info := await here.info())
            current = await here.find_mesh(topology.name)
        prepared = prepare(
            file,
            overrides,
            current,
            info,
            run=new_run(session, topology.name),
            topology=topology,
            hosting=site.hosting if site is not None else None,
            blobs=site.blobs if site is not None else None,
            left=site.left if site is not None else (),
        )
        return _warned(prepared, site.warnings) if site is not None else prepared
    from otter_ctl.merging import merged

    parts, lost = site.found.parts, {name: one.why for name, one in site.unheard.items()}
    prepared = prepare(
        file,
        overrides,
        merged(parts, lost, site.found.directory) if parts else None,
        site.infos[LOCAL if LOCAL in site.heard else site.heard[0]],
        run=new_run(session, topology.name),
        hosting=site.hosting,
        topology=site.topology,
        infos=site.infos,
        found=parts,
        wires=site.wires,
        blobs=site.blobs,
        left=site.left,
        unheard=site.unheard,
    )
    return _warned(prepared, site.warnings)


def new_run(session: Session, mesh: str) -> str:
    """An id for a run that begins now: its time; with a number where that one has a folder."""
    now, parent = time.strftime("%Y%m%d-%H%M%S"), session.runs / mesh
    names = itertools.chain([now], (f"{now}-{number}" for number in itertools.count(2)))
    return next(name for name in names if not os.path.lexists(parent / name))


def _warned(prepared: Prepared, more: Sequence[str]) -> Prepared:
    planned = replace(prepared.plan, warnings=(*prepared.plan.warnings, *more))
    return replace(prepared, plan=planned)


def _is_here(fleet: Fleet, site: Site) -> bool:
    """Whether all of a mesh is, and was, on this machine."""
    found = site.found
    alone = site.names == [LOCAL] and set(found.parts) <= {LOCAL}
    alone = alone and not (site.left or site.unheard or found.left or found.stale)
    return alone and LOCAL not in fleet.agents.machines


async def _surveyed(
    session: Session,
    fleet: Fleet,
    topology: Topology,
    measure: Measuring,
    without: Sequence[str],
    *,
    partly: bool,
) -> Site | None:
    """What is known of the machines; None: there are no others than this one."""
    if fleet.is_alone:
        return None
    from otter_ctl.siting import survey

    facts = None
    if LOCAL in machines_of(topology) and not session.agent.answers():
        facts = await asyncio.to_thread(session.agent.facts)
    return await survey(fleet, topology, facts, measure=measure, without=without, partly=partly)


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
    """Why what is planned would be refused, by agents as far as they answer, or before."""
    if not prepared.parts:
        here, spec = await fleet.agents.get(LOCAL), prepared.plan.spec
        problems = await here.check_mesh(spec)
        faults = [AgentFault(here.machine, problem) for problem in problems]
        return [*unusable(spec, await here.info()), *faults]
    from otter_ctl.many import each

    agents = await fleet.agents.of(prepared.parts)

    async def ask(name: str, agent: AgentClient) -> tuple[api.Problem, ...]:
        return await agent.check_mesh(prepared.parts[name])

    answers = await each(agents, ask)  # an agent that isn't started yet refuses nothing
    infos = prepared.infos
    faults = [one for n, part in prepared.parts.items() for one in unusable(part, infos[n])]
    faults += [AgentFault(name, p) for name in sorted(answers.good) for p in answers.good[name]]
    return faults


def unusable(spec: api.MeshSpec, info: api.Info) -> list[AgentFault]:
    """The first module's runtime that can't be used on a machine, if there is one."""
    try:
        check_runtimes(spec, info)
    except RemoteError as error:
        why = error.message.removeprefix(f"{error.machine}: ")
        problem = api.Problem(code="failed", message=why, hint=error.hint)
        return [AgentFault(error.machine, problem)]
    return []
