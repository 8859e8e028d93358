"""Orders for modules (start, stop, restart), and waiting until modules are in a state.

Prints nothing: callers pass a function that takes each event. Must not know: topology, the CLI.
"""

from __future__ import annotations

import asyncio
import fnmatch
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from otter_agent import api
from otter_ctl.errors import AgentFault, RemoteError, UnknownNameError
from otter_ctl.meshes import Meshes

OnEvent = Callable[[api.Event], None]

OVER = frozenset({"done", "failed", "stopped"})
"""States that a module leaves only if somebody does something."""
REACHES: Mapping[api.Order, frozenset[str]] = MappingProxyType(
    {
        "start": frozenset({"ready", "done"}),
        "restart": frozenset({"ready", "done"}),
        "stop": frozenset({"stopped", "done"}),
    }
)
"""What each order leads to."""


@dataclass(frozen=True, slots=True)
class Goal:
    """What is waited for.

    Attributes:
        modules: All of them.
        states: Any of these.
        late: Whether one that wasn't ready in its time is waited for all the same.
        at_once: Give up with the first that can't get there any more; else wait for the others.
        until: Of the modules those whose end is everybody's; none: all.
    """

    modules: Collection[str]
    states: frozenset[str]
    late: bool = False
    at_once: bool = False
    until: Collection[str] = ()

    def reached(self, module: api.ModuleStatus) -> bool:
        """Whether a module is there."""
        return module.state in self.states

    def missed(self, module: api.ModuleStatus) -> bool:
        """Whether a module won't get there by itself."""
        over = module.state in OVER or (module.overdue and not self.late)
        return over and not self.reached(module)

    def over(self, modules: Sequence[api.ModuleStatus]) -> bool:
        """Whether there is nothing more to wait for."""
        if self.at_once and any(map(self.missed, modules)):
            return True
        waited = [m for m in modules if not self.until or m.name in self.until]
        return all(self.reached(m) or self.missed(m) for m in waited)


def select(known: Sequence[str], words: Sequence[str], *, all_: bool, mesh: str) -> list[str]:
    """The modules that names and globs stand for, in the order of the mesh.

    Raises:
        UnknownNameError: One stands for nothing.
    """
    if all_:
        return list(known)
    found: set[str] = set()
    for word in words:
        matching = fnmatch.filter(known, word) if word not in known else [word]
        if not matching:
            hint = f"there are: {', '.join(known)}"
            raise UnknownNameError(f"module {word}", f"not in mesh {mesh}", hint=hint)
        found.update(matching)
    return [name for name in known if name in found]


async def give(
    client: Meshes,
    mesh: str,
    modules: Sequence[str],
    order: api.Order,
    on_event: OnEvent,
    *,
    wait: bool,
) -> list[api.ModuleStatus]:
    """Give an order to modules; returns what has become of them.

    Cancellation: orders that were given hold.

    Raises:
        RemoteError: The agent refused, or went away.
    """
    goal = Goal(modules, REACHES[order])
    async with client.events(mesh=mesh, follow=True) as events:
        given = [await client.order(mesh, name, order) for name in modules]
        return await _until(client, mesh, goal, events, on_event) if wait else given


async def wait_for(
    client: Meshes, mesh: str, goal: Goal, on_event: OnEvent, timeout_s: float | None
) -> list[api.ModuleStatus]:
    """Wait for a goal; returns the modules as they are when it is reached, or can't be any more.

    Raises:
        TimeoutError: It took longer.
        RemoteError: The agent went away, or the mesh did.
    """
    async with asyncio.timeout(timeout_s), client.events(mesh=mesh, follow=True) as events:
        return await _until(client, mesh, goal, events, on_event)


async def _until(
    client: Meshes,
    mesh: str,
    goal: Goal,
    events: AsyncIterator[api.Event],
    on_event: OnEvent,
) -> list[api.ModuleStatus]:
    """Events say when to look: older ones may still be on their way, so they prove nothing."""
    modules = await _look(client, mesh, goal)
    waiting = _waiting(modules, goal)
    while not goal.over(modules):
        async for event in events:
            on_event(event)
            if event.state == "destroyed":
                raise RemoteError(client.machine, f"mesh {mesh} was destroyed")
            if event.subject in waiting and _tells(event, goal):
                waiting.discard(event.subject)
                if not waiting or goal.at_once:
                    break
        else:
            hint = "look again: otterctl status"
            raise RemoteError(client.machine, "the agent went away", hint=hint)
        try:
            modules = await _look(client, mesh, goal)
        except AgentFault as fault:
            if fault.code != "not-found":
                raise
            raise RemoteError(client.machine, f"mesh {mesh} was destroyed") from None
        waiting = _waiting(modules, goal)
    return modules


def _waiting(modules: Sequence[api.ModuleStatus], goal: Goal) -> set[str]:
    """Whose events are worth a look: who gives up at once looks at what was reached, too."""
    if goal.at_once:
        return {m.name for m in modules}
    return {m.name for m in modules if not goal.reached(m) and not goal.missed(m)}


def _tells(event: api.Event, goal: Goal) -> bool:
    """Whether an event may be the one that is waited for."""
    if event.kind != "module":
        return False
    late = event.state == "running" and not event.text.startswith(("waits for", "is being"))
    return event.state in goal.states or event.state in OVER | {"removed"} or late


async def _look(client: Meshes, mesh: str, goal: Goal) -> list[api.ModuleStatus]:
    found = [m for m in await client.modules(mesh) if m.name in goal.modules]
    gone = set(goal.modules) - {m.name for m in found}
    if gone:
        name = min(gone)
        raise RemoteError(client.machine, f"module {name} was removed from mesh {mesh}")
    return found
