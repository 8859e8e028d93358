"""Brings every machine of an apply the images that it lacks, before anything starts.

    look (all) ─► choose ─► make, once per kind ─► send to those that lack it

Machines that have what they need are asked once, and that is all. Must not know: the CLI.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from otter_agent import api
from otter_ctl.deploy import OnEvent, Prepared
from otter_ctl.fetching import about
from otter_ctl.images.calls import ImageCalls
from otter_ctl.images.choosing import Job, choose
from otter_ctl.images.sending import Sending, send
from otter_ctl.many import each
from otter_ctl.spread import Fleet

JOBS_AT_ONCE = 4
_ID = re.compile(r"(sha256:)?[0-9a-f]{12,64}")
_STEP_S = 0.2
"""Between two words of progress."""


async def deliver(fleet: Fleet, prepared: Prepared, on_event: OnEvent) -> None:
    """Make and send what is lacking.

    Raises:
        OtterError: An image can't be made, or a machine can't take it.
    """
    jobs = await lacking(fleet, prepared)
    if not jobs:
        return
    modules = {m.name: m for part in prepared.parts.values() for m in part.modules}
    names = {name for job in jobs for name in (job.source, *job.to)}
    agents = await _calls(fleet, names)
    work = _Work(prepared, on_event, modules, agents)
    room = asyncio.Semaphore(JOBS_AT_ONCE)

    async def one(name: str, job: Job) -> None:
        async with room:
            await work.do(job)

    (await each({f"{job.kind} {job.reference}": job for job in jobs}, one)).all()


async def lacking(fleet: Fleet, prepared: Prepared) -> list[Job]:
    """What an apply would make and send. Changes nothing."""
    needs = {
        name: found
        for name, part in prepared.parts.items()
        if (found := [m for m in part.modules if m.runtime == "docker" and _has_name(m)])
    }
    builders = fleet.agents.builders
    alone = len(needs.keys() | set(builders)) < 2
    if not needs or alone or prepared.topology.images == "each":
        return []
    looks = await _looks(fleet, {name: _distinct(found) for name, found in needs.items()})
    if all(look.present for found in looks.values() for look in found):
        return []
    everything = _distinct([m for found in needs.values() for m in found])
    looks |= await _looks(fleet, dict.fromkeys(builders, everything))
    same = {name: _of_same_image(found, needs.values()) for name, found in needs.items()}
    builds = {m.name for m in everything if m.build is not None}
    return choose(looks, same, builds, builders)


def _has_name(module: api.ModuleSpec) -> bool:
    """Not only an id or a digest, by which an image can't be sent."""
    image = module.image or ""
    return "@" not in image and not _ID.fullmatch(image)


async def _looks(
    fleet: Fleet, asked: Mapping[str, Sequence[api.ModuleSpec]]
) -> dict[str, list[api.ImageLook]]:
    agents = await _calls(fleet, asked)
    return (await each(agents, lambda name, agent: agent.look(asked[name]))).all()


async def _calls(fleet: Fleet, names: Iterable[str]) -> dict[str, ImageCalls]:
    return {name: ImageCalls(await fleet.agents.get(name), name) for name in sorted(names)}


def _distinct(modules: Sequence[api.ModuleSpec]) -> list[api.ModuleSpec]:
    """One module for each image."""
    return list({(m.build, m.image): m for m in reversed(modules)}.values())


def _of_same_image(
    modules: Sequence[api.ModuleSpec], others: Iterable[Sequence[api.ModuleSpec]]
) -> set[str]:
    images = {(m.build, m.image) for m in modules}
    return {m.name for found in others for m in found if (m.build, m.image) in images}


@dataclass(frozen=True, slots=True)
class _Work:
    prepared: Prepared
    on_event: OnEvent
    modules: Mapping[str, api.ModuleSpec]
    agents: Mapping[str, ImageCalls]

    async def do(self, job: Job) -> None:
        """Make it, send it."""
        if job.make:
            self._tell(job, f"is made on {job.source}", job.source)
            await self.agents[job.source].make(
                self.modules[job.module],
                self.prepared.uploads,
                lambda line: self._tell(job, line, job.source),
            )
        targets = {name: self.agents[name] for name in job.to}
        (await each(targets, lambda name, target: self._send(job, target))).all()

    async def _send(self, job: Job, target: ImageCalls) -> None:
        began = time.monotonic()
        progress = self._progress(job, target.machine)
        done = await send(job.reference, self.agents[job.source], target, progress)
        if done.all_layers:
            what = f"{done.layers} of {done.all_layers} layers, {about(done.wire_bytes)} sent"
            again = f", begun again {done.tries} times" if done.tries else ""
            took = f"in {time.monotonic() - began:.1f} s{again}"
            text = f"{job.source} to {target.machine}: {what} {took}"
        else:
            text = f"{target.machine} has all of it"
        self._tell(job, text, target.machine)

    def _progress(self, job: Job, machine: str) -> Callable[[Sending], None]:
        last = 0.0

        def told(now: Sending) -> None:
            nonlocal last
            if time.monotonic() - last < _STEP_S:
                return
            last = time.monotonic()
            come, whole = now.come_bytes, now.whole_bytes
            text = f"{job.source} to {machine}: {about(come)} of {about(whole)}"
            data = {"come_bytes": come, "total_bytes": whole, "under_way": True}
            self._tell(job, text, machine, data)

        return told

    def _tell(self, job: Job, text: str, machine: str, data: dict[str, Any] | None = None) -> None:
        mesh = self.prepared.plan.spec.name
        event = api.Event(
            seq=0, time=time.time(), mesh=mesh, kind="image", subject=job.module, text=text,
            data=data or {}, machine=machine,
        )  # fmt: skip
        self.on_event(event)
