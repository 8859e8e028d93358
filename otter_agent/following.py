"""What a runtime has and reports, handed to those who keep meshes; what belongs to none is removed.

Must not know: what keepers make of it, HTTP.
"""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Mapping

from net.errors import OtterError
from otter_agent.book import Emit
from otter_agent.errors import ContainerError
from otter_agent.keeper import MeshKeeper
from otter_agent.machine import Machine
from otter_agent.runtimes.base import Instance, Runtime

RELIST_S = 30.0
"""A runtime is listed afresh this often, in case a report of its was missed."""
SOON_S = 1.0
"""And once so soon after it was asked to report: what ended just before it did isn't reported."""
RECONNECT_S = 1.0
ANSWER_S = 5.0
"""What tells of no more and hasn't answered after so long has a problem: engines may hang."""
FIRST_S = 20.0
"""As long an agent that begins waits for what a runtime has: what hangs keeps no other from it."""


async def listed(name: str, runtime: Runtime, within_s: float | None) -> list[Instance]:
    """What a runtime has.

    Args:
        name: Of the runtime.
        runtime: Itself.
        within_s: How long it may take, above 0; None: as long as it takes.

    Raises:
        ContainerError: It can't be asked, or takes longer.
    """
    if within_s is None:
        return await runtime.list()
    try:
        async with asyncio.timeout(within_s):
            return await runtime.list()
    except TimeoutError:
        why = f"no answer within {within_s:g} s"
        raise ContainerError(name, "list", "instances", why, recoverable=True) from None


class Following:
    """Follows one runtime.

    Args:
        machine: Where it is said that the runtime has a problem.
        name: Of the runtime.
        runtime: Itself.
        keepers: Mesh -> who keeps it; changes while this runs.
        emit: Records events.
    """

    def __init__(
        self,
        machine: Machine,
        name: str,
        runtime: Runtime,
        keepers: Mapping[str, MeshKeeper],
        emit: Emit,
    ) -> None:
        self._machine = machine
        self._name = name
        self._runtime = runtime
        self._keepers = keepers
        self._emit = emit

    async def look(self, within_s: float | None = None) -> bool:
        """List what it has, and hand that on; False: it can't be asked now.

        Args:
            within_s: It is given up if it takes longer, above 0; None: as long as it takes.
        """
        asked_at = time.monotonic()
        try:
            instances = await listed(self._name, self._runtime, within_s)
        except OtterError as error:
            self._set_problem(str(error))
            return False
        self._set_problem("")
        by_mesh: dict[str, dict[str, Instance]] = defaultdict(dict)
        for instance in instances:
            by_mesh[instance.key.mesh][instance.key.module] = instance
        for mesh, orphans in by_mesh.items():
            if mesh not in self._keepers:
                for instance in orphans.values():
                    await self._remove(instance)
        for keeper in list(self._keepers.values()):
            for stray in keeper.saw_all(self._name, by_mesh.get(keeper.name, {}), asked_at):
                await self._remove(stray)
        return True

    async def run(self) -> None:
        """Hand on what it reports, for ever; look at everything again after each interruption."""
        while True:
            # Its reports go on while it is listed: between two rows of them exits would be missed.
            async with asyncio.TaskGroup() as group:
                looking = group.create_task(self._look_now_and_then(), name=f"looks: {self._name}")
                ended = await self._hand_on()
                looking.cancel()
            if ended:
                if not await self._lists():  # a launcher that ended is started by who needs one
                    self._set_problem(ended)
                for keeper in self._keepers.values():
                    keeper.interrupted(self._name)
                await asyncio.sleep(RECONNECT_S)
            while not await self.look():  # noqa: ASYNC110 - it polls an engine
                await asyncio.sleep(RECONNECT_S)

    async def _hand_on(self) -> str:
        """Hand on what it reports, until it reports no more: why, "" if it doesn't say."""
        try:
            async for instance in self._runtime.watch():
                keeper = self._keepers.get(instance.key.mesh)
                if keeper is not None:
                    keeper.saw(self._name, instance)
        except OtterError as error:
            return str(error)
        return ""

    async def _look_now_and_then(self) -> None:
        await asyncio.sleep(SOON_S)
        while True:
            answers = await self.look()
            await asyncio.sleep(RELIST_S if answers else RECONNECT_S)

    async def _lists(self) -> bool:
        """Whether it can be asked what it has, though it told of no more."""
        try:
            await listed(self._name, self._runtime, ANSWER_S)
        except OtterError:
            return False
        return True

    async def _remove(self, orphan: Instance) -> None:
        try:
            await self._runtime.remove(orphan.key)
        except OtterError as error:
            self._emit(orphan.key.mesh, "agent", self._name, str(error), "")

    def _set_problem(self, problem: str) -> None:
        if self._machine.problems.get(self._name) == problem:
            return
        self._machine.problems[self._name] = problem
        for keeper in self._keepers.values():
            keeper.wake()
