"""Has a topology made real, and says on stderr how that goes on: what `apply` and `run` share."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import click

from otter_agent import api
from otter_ctl import rollout
from otter_ctl.cli import Session
from otter_ctl.cli.common import run
from otter_ctl.cli.preparing import (
    check_all,
    located,
    machines_of,
    needs_this,
    prepared_for,
    reaching,
)
from otter_ctl.cli.progress import Progress
from otter_ctl.cli.saying import say
from otter_ctl.cli.words import restarts
from otter_ctl.deploy import Prepared, with_secrets
from otter_ctl.errors import RemoteError
from otter_ctl.fetching import controller, facts
from otter_ctl.planning.machines import left_out
from otter_ctl.planning.tunnels import Measuring
from otter_ctl.planning.unbuilt import refuse_unsupported
from otter_ctl.runs import RunFolder
from otter_ctl.secrets import gather
from otter_ctl.spread import Fleet
from otter_ctl.topology import load
from otter_ctl.topology.model import LOCAL, Topology


def _nothing(told: object) -> None:
    """Nobody is told."""


@dataclass(frozen=True, slots=True)
class How:
    """What is asked beside the topology.

    Attributes:
        wait: Until all modules are ready, or one can't be.
        fresh: Refuse a mesh that is there already.
        force: Also if it is somebody else's, or was changed meanwhile.
        keep_partial: Where a machine fails the others keep their parts.
        measure: Measure all networks between machines, not only new ones.
        without: Machines that are left out.
        quiet: Show no progress.
        on_ready: Called at once when agents have said what has become of it.
        on_begun: Called before agents are given anything; from then on there may be something.
    """

    wait: bool = True
    fresh: bool = False
    force: bool = False
    keep_partial: bool = False
    measure: bool = False
    without: tuple[str, ...] = ()
    quiet: bool = False
    on_begun: Callable[[api.MeshSpec], None] = _nothing
    on_ready: Callable[[api.MeshStatus], None] = _nothing


def made(
    session: Session, file: Path, overrides: tuple[str, ...], how: How
) -> tuple[Prepared, api.MeshStatus]:
    """Make it real; what was planned, and what has become of it.

    Raises:
        OtterError: It can't be planned, was refused, or machines don't answer.
        KeyboardInterrupt: Agents keep what they had taken by then.
    """
    written = load(file, overrides)  # before anything is started: a bad file changes nothing
    with located(written):
        topology = left_out(written, how.without)
    here = machines_of(topology)
    if needs_this(topology) or (LOCAL in here and session.agent.ran_before):
        _start_agent(session)

    async def work() -> tuple[Prepared, api.MeshStatus]:
        async with reaching(session, written, force=how.force, without=how.without) as fleet:
            making = _Making(session, fleet, file, overrides, topology, how)
            return await making.brought(await making.planned())

    with located(topology):
        return run(work())


@dataclass(frozen=True, slots=True)
class _Making:
    """A topology on its way from a file to its machines."""

    session: Session
    fleet: Fleet
    file: Path
    overrides: tuple[str, ...]
    topology: Topology
    how: How

    async def planned(self) -> Prepared:
        """Planned, and found to be possible as far as that is known before."""
        prepared = await self._prepared()
        if LOCAL in prepared.plan.machines.values() and not self.session.agent.answers():
            await asyncio.to_thread(_start_agent, self.session)
            prepared = await self._prepared()
        if self.how.fresh and prepared.current is not None:
            name = prepared.plan.spec.name
            end = f"otterctl destroy -m {name}"
            hint = f"end it: {end}; or give this one another name: --set name=…"
            raise RemoteError(self.fleet.machine, f"mesh {name} is there already", hint=hint)
        for warning in prepared.plan.warnings:
            say(f"warning: {warning}", fg="yellow", err=True)
        refuse_unsupported(prepared.plan)
        await check_all(self.fleet, prepared)
        return prepared

    async def _prepared(self) -> Prepared:
        which: Measuring = "all" if self.how.measure else "new"
        without = self.how.without
        return await prepared_for(
            self.session, self.fleet, self.file, self.overrides, self.topology, which, without
        )

    async def brought(self, planned: Prepared) -> tuple[Prepared, api.MeshStatus]:
        """Handed to the agents, with a run folder that says what was asked."""
        secrets = gather(planned.plan.spec, os.environ)
        prepared = await with_secrets(self.fleet, planned, secrets)
        for line in restarts(prepared.changes):
            say(line, err=True)
        if prepared.nothing_to_do and prepared.current is not None and not secrets:
            await rollout.complete(self.fleet, prepared)
            return prepared, prepared.current
        folder = RunFolder.of(self.session.runs, prepared.plan.spec)
        folder.make()

        def accepted(status: api.MeshStatus) -> None:
            # Who changes several machines has the turn on all: nobody else writes meanwhile.
            generation = None if prepared.parts else status.generation
            folder.record(
                self.file, status.spec, included=self.topology.files[:-1],
                overrides=self.overrides, generation=generation,
            )  # fmt: skip
            controller()  # looked up now, while the agent works

        self.how.on_begun(prepared.plan.spec)
        try:
            names = [m.name for m in prepared.plan.spec.modules]
            with Progress(names, quiet=self.how.quiet) as progress:
                status = await rollout.bring(
                    self.fleet,
                    prepared,
                    progress,
                    wait=self.how.wait,
                    secrets=secrets,
                    on_accepted=accepted,
                    keep_partial=self.how.keep_partial,
                )
                self.how.on_ready(status)
        finally:
            folder.drop_if_empty()
        folder.note(await facts(self.fleet, status, prepared.told()))
        return prepared, status


def _start_agent(session: Session) -> None:
    """Have an agent on this machine, and say so if none was there."""
    if session.agent.answers():
        return
    pid, mine = session.agent.start()
    if mine:
        said = f"started otter-agent (pid {pid}); it ends 60 s after its last mesh"
        click.echo(said, err=True)
