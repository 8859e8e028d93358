"""Takes a mesh down: instances first, then what they stood on.

Must not know: why the mesh is to go, what is remembered of it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Protocol

from otter_agent.errors import explained
from otter_agent.links.book import LinkBook
from otter_agent.part import Part
from otter_agent.steps import AT_ONCE, Steps, patient
from otter_agent.supervision import Patience


class Tell(Protocol):
    """Records an event of the mesh."""

    def __call__(self, kind: str, subject: str, text: str, state: str = "") -> None:
        """Record it."""
        ...


async def remove_mesh(
    steps: Steps,
    parts: Mapping[str, Part],
    links: LinkBook,
    tell: Tell,
    patience: Patience,
) -> str:
    """Remove all of a mesh; returns what could not be removed, "" if nothing is left.

    Idempotent: call it again until it returns "".
    """
    said: list[str] = []

    slots = asyncio.Semaphore(AT_ONCE)

    async def end(name: str, part: Part) -> None:
        try:
            async with slots:
                await _end(steps, name, part, tell, patience)
        except Exception as error:  # noqa: BLE001 - one that can't be removed keeps no other
            said.append(str(explained(error)))

    async with asyncio.TaskGroup() as group:
        for name, part in parts.items():
            if part.runtime in steps.machine.runtimes:
                group.create_task(end(name, part), name=f"end of {name}")
    if not said:
        try:
            await steps.remove_all(links)
        except Exception as error:  # noqa: BLE001 - as above
            said.append(str(explained(error)))
    for text in said:
        tell("mesh", steps.mesh, text)
    return "; ".join(said)


async def _end(
    steps: Steps,
    name: str,
    part: Part,
    tell: Tell,
    patience: Patience,
) -> None:
    had = part.instance
    if had is None and steps.machine.problem_of(part.runtime):
        return  # an engine that isn't there has nothing of ours that we know of
    async with patient(part.runtime, "remove", steps.key(name), patience.step_s):
        await steps.remove(name, part.runtime, None)
    part.now_is(None)
    if had is not None:
        tell("module", name, "removed", "removed")
