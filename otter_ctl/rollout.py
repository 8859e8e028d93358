"""Brings a plan to several machines: all say that they can before any of them begins.

    turn ─► check, upload (all) ─► images ─► put (all) ─► wait (all) ─► one epoch
              any "no": nothing has         any "no": the others go
              been changed                  back to what they had

Prints nothing: callers pass a function that takes each event. Must not know: the CLI, the terminal.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import getpass
import secrets as random_words
import socket
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

from msgspec.structs import replace

from net.errors import OtterError
from otter_agent import api
from otter_ctl import controllers, deploy
from otter_ctl.client import AgentClient
from otter_ctl.deploy import NO_SECRETS, OnEvent, Prepared
from otter_ctl.errors import AgentFault, PartMissing, RemoteError
from otter_ctl.fleet import Found
from otter_ctl.images.calls import ImageCalls
from otter_ctl.images.delivering import deliver
from otter_ctl.many import Answers, each, together
from otter_ctl.merging import merged
from otter_ctl.spread import Fleet
from otter_ctl.topology.model import LOCAL

LEASE_S = 30.0
FRESH_S = 10.0
"""Who told of its part so long ago is asked again before all begin: others took longer."""


async def bring(
    fleet: Fleet,
    prepared: Prepared,
    on_event: OnEvent,
    *,
    wait: bool,
    secrets: Mapping[str, str] = NO_SECRETS,
    on_accepted: Callable[[api.MeshStatus], None] = lambda status: None,
    keep_partial: bool = False,
) -> api.MeshStatus:
    """`apply`, or `deploy.apply` where all of it is on this machine."""
    if prepared.parts:
        return await apply(
            fleet,
            prepared,
            on_event,
            wait=wait,
            secrets=secrets,
            on_accepted=on_accepted,
            keep_partial=keep_partial,
        )
    here = await fleet.agents.get(LOCAL)
    return await deploy.apply(
        here, prepared, on_event, wait=wait, secrets=secrets, on_accepted=on_accepted
    )


async def destroy(fleet: Fleet, mesh: str, on_event: OnEvent) -> None:
    """Remove everything of a mesh, wherever it is, and wait until it is gone. Absent: fine.

    Raises:
        OtterError: A machine didn't answer: its part stays, all others are gone.
    """
    if fleet.is_alone:
        await deploy.destroy(await fleet.agents.get(LOCAL), mesh, on_event)
        return
    found = await fleet.places.look(mesh)
    if not found.parts:
        return
    agents = {**await fleet.places.clients(mesh), **await fleet.places.stale(mesh)}
    async with turn(agents, mesh):
        left = await each(agents, lambda name, agent: deploy.destroy(agent, mesh, on_event))
    silent = {n: e for n, e in found.lost.items() if not isinstance(e, PartMissing)}
    failed = {**found.absent, **silent, **left.failed}
    if failed:
        error = together(failed)
        text = f"{error.message}; of mesh {mesh} stays what is there"
        hint = f"{error.hint}; destroy again when it answers" if error.hint else "destroy again"
        raise RemoteError(sorted(failed)[0], text.removeprefix(f"{sorted(failed)[0]}: "), hint=hint)


async def complete(fleet: Fleet, prepared: Prepared) -> None:
    """Of a mesh that is as planned: set its epoch, if an apply before didn't come to that."""
    if not prepared.parts:
        return
    mesh = prepared.plan.spec.name
    if any(part.timeline == "waiting" for part in prepared.currents.values()):
        async with turn(await fleet.places.clients(mesh), mesh):
            await begin(fleet, mesh, prepared.currents)


@dataclass(slots=True)
class _Course:
    """How far it has come, by machine."""

    accepted: set[str] = field(default_factory=set)
    answers: Answers[api.MeshStatus] = field(default_factory=Answers)
    told_s: dict[str, float] = field(default_factory=dict)
    news: asyncio.Event = field(default_factory=asyncio.Event)


async def apply(
    fleet: Fleet,
    prepared: Prepared,
    on_event: OnEvent,
    *,
    wait: bool,
    secrets: Mapping[str, str] = NO_SECRETS,
    on_accepted: Callable[[api.MeshStatus], None] = lambda status: None,
    keep_partial: bool = False,
) -> api.MeshStatus:
    """As `deploy.apply`, on all machines of the plan.

    Args:
        fleet: All machines.
        prepared: What to bring.
        on_event: Takes each event meanwhile.
        wait: Until the mesh has settled everywhere.
        secrets: Values by name.
        on_accepted: Called once all machines have taken their parts.
        keep_partial: Where a machine fails, leave the others' parts as they are, also of those
            that the mesh leaves.

    Raises:
        OtterError: A machine refused, or was lost; says what stands where.
    """
    mesh = prepared.plan.spec.name
    former = [name for name in prepared.currents if name not in prepared.parts]
    stale = await fleet.places.stale(mesh)
    agents = {**await fleet.agents.of([*prepared.parts, *former]), **stale}
    async with turn(agents, mesh):
        (await each(stale, lambda name, agent: deploy.destroy(agent, mesh, on_event))).all()
        await _ask(agents, prepared)
        await deliver(fleet, prepared, on_event)
        await _bring_folders(agents, prepared)
        put = partial(
            _put, agents, on_event=on_event, wait=wait, secrets=secrets, keep_partial=keep_partial
        )
        course = await put(_naming(prepared, former))
        if refused := _refused(course):  # what would replace theirs isn't there: they keep it
            raise _partial(mesh, refused | course.answers.failed, course, kept=former)
        gone = {name: agents[name] for name in former}
        left = await each(gone, lambda name, agent: deploy.destroy(agent, mesh, on_event))
        failed = {**course.answers.failed, **left.failed}
        if failed:
            raise _partial(mesh, failed, course)
        if former:
            named = dataclasses.replace(prepared, currents=course.answers.good)
            # What machines had before is gone; and what has just failed wasn't changed since.
            course = await put(named, keep_partial=True, retry=False)
            if course.answers.failed:
                raise _partial(mesh, course.answers.failed, course)
        found = await _made(fleet, agents, prepared, course, wait=wait)
        status = merged(found.parts, found.why, found.directory)
        on_accepted(status)
        if wait and status.state == "ready":
            await begin(fleet, mesh, found.parts)
    return status


def _naming(prepared: Prepared, former: Sequence[str]) -> Prepared:
    """The same, with parts that name the machines where the mesh is no more.

    Until it has been removed there: who comes after one that was killed before looks there, too.
    """
    if not former:
        return prepared
    parts = {
        name: replace(part, left=tuple(sorted({*part.left, *former})))
        for name, part in prepared.parts.items()
    }
    return dataclasses.replace(prepared, parts=parts)


async def _made(
    fleet: Fleet,
    agents: Mapping[str, AgentClient],
    prepared: Prepared,
    course: _Course,
    *,
    wait: bool,
) -> Found:
    """All parts: as each was when it had settled, or as they are a moment after they were taken."""
    places, mesh = fleet.places, prepared.plan.spec.name
    if not wait:
        return await places.look(mesh, list(prepared.parts))
    now = time.monotonic()
    old = {name: agents[name] for name, at in course.told_s.items() if now - at >= FRESH_S}
    again = await each(old, lambda name, agent: agent.mesh(mesh))
    known = {name: part for name, part in course.answers.good.items() if name not in old}
    return await places.take(mesh, Answers(known | again.good, again.failed))


@contextlib.asynccontextmanager
async def turn(agents: Mapping[str, AgentClient], mesh: str) -> AsyncIterator[None]:
    """Be the only one who changes a mesh, on all its machines, for the length of the block.

    Everybody asks the first of its machines' names before the others, so of two who begin at once
    on the same machines one gets all. On other machines both may be told to wait.

    Raises:
        AgentFault: `locked`: somebody else is at it.
    """
    holder = random_words.token_hex(8)
    lease = api.Lease(holder=holder, who=_who(), for_s=LEASE_S, controller=controllers.own())
    taken: dict[str, AgentClient] = {}
    first = min(agents, default="")
    try:
        for names in ({first} & agents.keys(), agents.keys() - {first}):
            these = {name: agents[name] for name in names}
            taken |= these  # who is interrupted gives back what it may have got, too
            (await each(these, lambda name, agent: _take(agent, mesh, lease))).all()
        async with asyncio.TaskGroup() as group:
            keeping = group.create_task(_keep(taken, mesh, lease), name="leases")
            try:
                yield
            finally:
                keeping.cancel()
    except BaseExceptionGroup as errors:
        raise _only(errors) from None
    finally:
        back = replace(lease, for_s=0.0)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(5.0):
                await each(taken, lambda name, agent: agent.lease(mesh, back))


async def _take(agent: AgentClient, mesh: str, lease: api.Lease) -> None:
    """Also from one of this computer who was killed, or lost the machine, and is gone."""
    try:
        await agent.lease(mesh, lease)
    except AgentFault as fault:
        former = fault.problem.controller
        if fault.code != "locked" or not controllers.is_gone(former):
            raise
        await agent.lease(mesh, replace(lease, instead=former))


async def begin(fleet: Fleet, mesh: str, parts: Mapping[str, api.MeshStatus]) -> None:
    """Agree on the epoch, if all are waiting for one; who comes later takes the others'."""
    waiting = {name for name, part in parts.items() if part.timeline == "waiting"}
    if not waiting:
        return
    if waiting == parts.keys():
        await fleet.order_timeline(mesh, "start")
        return
    running = next((n for n, part in parts.items() if part.timeline == "running"), None)
    if running is not None:
        agents = await fleet.places.clients(mesh)
        told = await agents[running].timeline(mesh)
        offsets = await fleet.clocks(mesh)
        epoch = offsets[running].here(told.epoch or 0.0)
        await each(
            {name: agents[name] for name in waiting},
            lambda name, agent: agent.order_timeline(mesh, "start", offsets[name].there(epoch)),
        )


async def _keep(agents: Mapping[str, AgentClient], mesh: str, lease: api.Lease) -> None:
    while True:
        await asyncio.sleep(LEASE_S / 3)
        await each(agents, lambda name, agent: agent.lease(mesh, lease))


async def _ask(agents: Mapping[str, AgentClient], prepared: Prepared) -> None:
    """Whether every machine can; and bring it what it needs. Nothing is started by that."""

    async def one(name: str, agent: AgentClient) -> None:
        part = prepared.parts.get(name)
        if part is None:
            return
        before = prepared.currents.get(name)
        lacking: set[str] = set()
        for problem in await agent.check_mesh(part, before.generation if before else 0):
            if problem.code == "missing-blobs":
                lacking.update(problem.missing)
            elif problem.code != "degraded":
                raise AgentFault(name, problem)
        later = {m.build.context for m in _built(part) if m.build}  # perhaps their images come
        sooner = {blob for m in part.modules if m.runtime != "docker" for blob in m.blobs()}
        wanted = sorted(lacking - (later - sooner))
        await agent.send([d for d in wanted if d in prepared.uploads], prepared.uploads)

    (await each(agents, one)).all()


def _built(part: api.MeshSpec) -> list[api.ModuleSpec]:
    """Modules of images that are built, one of each."""
    built = (m for m in part.modules if m.runtime == "docker" and m.build is not None)
    return list({(m.build, m.accelerator): m for m in built}.values())


async def _bring_folders(agents: Mapping[str, AgentClient], prepared: Prepared) -> None:
    """Build folders to machines that have to build: those that lack the image by now."""

    async def one(name: str, agent: AgentClient) -> None:
        part = prepared.parts[name]
        looks = await ImageCalls(agent, name).look(_built(part))
        lacking = {look.module for look in looks if not look.present}
        folders = {m.build.context for m in _built(part) if m.build and m.name in lacking}
        await agent.upload(folders, prepared.uploads)

    builders = {n: agents[n] for n, part in prepared.parts.items() if _built(part)}
    (await each(builders, one)).all()


async def _put(
    agents: Mapping[str, AgentClient],
    prepared: Prepared,
    on_event: OnEvent,
    *,
    wait: bool,
    secrets: Mapping[str, str],
    keep_partial: bool,
    retry: bool = True,
) -> _Course:
    """Every machine its part. One that doesn't take it has the others go back."""
    course = _Course()

    async def one(name: str) -> None:
        part = prepared.parts[name]
        wanted = {s for m in part.modules for s in m.secrets}

        def accepted(status: api.MeshStatus) -> None:
            course.accepted.add(name)
            course.news.set()

        try:
            course.answers.good[name] = await deploy.apply(
                agents[name],
                prepared.part(name),
                lambda event: on_event(replace(event, machine=name)),
                wait=wait,
                secrets={s: value for s, value in secrets.items() if s in wanted},
                on_accepted=accepted,
                retry=retry,
            )
        except OtterError as error:
            course.answers.failed[name] = error
        course.told_s[name] = time.monotonic()
        course.news.set()

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(one(name), name=f"put {name}") for name in prepared.parts]
        # Who was interrupted while it took its part may have it or not: nobody is, so all is known.
        while _undecided(course, prepared):
            course.news.clear()
            await course.news.wait()
        refused = _refused(course)
        for task in tasks if refused and not keep_partial else ():
            task.cancel()
    if refused and not keep_partial:
        raise await _rolled_back(agents, prepared, course, refused)
    return course


def _undecided(course: _Course, prepared: Prepared) -> bool:
    return not course.accepted | course.answers.failed.keys() >= prepared.parts.keys()


def _refused(course: _Course) -> dict[str, OtterError]:
    return {n: e for n, e in course.answers.failed.items() if n not in course.accepted}


async def _rolled_back(
    agents: Mapping[str, AgentClient],
    prepared: Prepared,
    course: _Course,
    refused: Mapping[str, OtterError],
) -> OtterError:
    """Those that took their part get back what they had; the error to raise.

    Those that gave no answer, too, as they may have taken it.
    """
    mesh = prepared.plan.spec.name
    silent = {name for name, error in refused.items() if not isinstance(error, AgentFault)}

    async def back(name: str, agent: AgentClient) -> None:
        before = prepared.currents.get(name)
        if before is None:
            await deploy.destroy(agent, mesh, lambda event: None)
        elif before.spec != prepared.parts[name]:  # another apply would start what has failed
            await agent.put_mesh(before.spec, {})

    done = await each({name: agents[name] for name in course.accepted | silent}, back)
    error = together(refused)
    first = sorted(refused)[0]
    text = f"{error.message}; nothing was changed on the other machines"
    if course.accepted | silent:
        text = f"{error.message}; {', '.join(sorted(done.good)) or 'nobody'} went back"
    if done.failed:
        text += f"; {', '.join(sorted(done.failed))} could not"
    return RemoteError(first, text.removeprefix(f"{first}: "), hint=error.hint)


def _partial(
    mesh: str, failed: Mapping[str, OtterError], course: _Course, kept: Sequence[str] = ()
) -> OtterError:
    error = together(failed)
    good = ", ".join(sorted(course.answers.good)) or "none"
    text = f"{error.message}; mesh {mesh} is partial: {good} of its machines have settled"
    if kept:
        text += f"; what it leaves keeps its part until all have taken theirs: {', '.join(kept)}"
    first = sorted(failed)[0]
    hint = "the agents go on; apply again to see"
    return RemoteError(first, text.removeprefix(f"{first}: "), hint=hint)


def _who() -> str:
    try:
        user = getpass.getuser()
    except (OSError, KeyError, ImportError):  # ImportError: Windows, without USERNAME
        user = "somebody"
    return f"{user} on {socket.gethostname()}"


def _only(errors: BaseExceptionGroup[BaseException]) -> BaseException:
    """The one error of a group of one."""
    first = errors.exceptions[0]
    single = len(errors.exceptions) == 1
    return (_only(first) if isinstance(first, BaseExceptionGroup) else first) if single else errors
