"""`Fleet`: all machines, asked about meshes as if they were one.

Questions about a whole mesh go to all its machines at once and are put together (`merging.py`);
those about a module go to where it is. Must not know: topologies, plans, how anything is printed.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import random
import time
from collections import defaultdict
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from msgspec.structs import replace

from otter_agent import api
from otter_ctl import byhand, clocks
from otter_ctl.certifying import certified
from otter_ctl.client import AgentClient
from otter_ctl.concerns import matching, told
from otter_ctl.errors import AgentFault, RemoteError
from otter_ctl.fleet import Agents, OnTrouble, Places, no_trouble
from otter_ctl.many import Answers, as_they_come, by_time, each
from otter_ctl.merging import merged, summary, timeline
from otter_ctl.meshes import Meshes
from otter_ctl.topology.model import LOCAL, Machine

if TYPE_CHECKING:
    from otter_ctl.duplex import Duplex

T = TypeVar("T")
AGAIN_S = (0.5, 1.0, 2.0, 5.0, 10.0)
"""Pauses before a machine that was lost while it was listened to is tried again."""
LEAD_S = 0.3
"""How long before an epoch all machines are told of it at least, besides the way there."""


class Fleet(Meshes):
    """All machines; use with `async with`.

    Args:
        socket: Of this machine's agent.
        machines: The others that are known.
        force: As of `Meshes`.
        reads_only: As of `ApiClient`.
        on_trouble: Told of machines that give no answer, once each.
    """

    def __init__(
        self,
        socket: Path,
        machines: Mapping[str, Machine],
        *,
        force: bool = False,
        reads_only: bool = False,
        on_trouble: OnTrouble = no_trouble,
    ) -> None:
        self.machine = LOCAL
        self.force = force
        self.agents = Agents(socket, machines, force=force, reads_only=reads_only)
        self._said: set[str] = set()
        self._on_trouble = on_trouble
        self.places = Places(self.agents, self._trouble)

    async def __aenter__(self) -> Fleet:
        return self

    @property
    def is_alone(self) -> bool:
        """Whether no other machine than this one is known."""
        return not self.agents.machines

    async def __aexit__(self, *raised: object) -> None:
        await self.agents.aclose()

    def _trouble(self, machine: str, what: str) -> None:
        if machine not in self._said:
            self._said.add(machine)
            self._on_trouble(machine, what)

    # --- whole meshes ------------------------------------------------------------------------

    async def meshes(self) -> list[api.MeshSummary]:
        """All meshes, wherever they are."""
        answers = await self._all(lambda agent: agent.meshes())
        found: dict[tuple[str, str], list[api.MeshSummary]] = defaultdict(list)
        for name in sorted(answers.good):
            for one in answers.good[name]:
                found[one.mesh, one.run].append(one)
        return [summary(parts) for _, parts in sorted(found.items())]

    async def mesh(self, name: str) -> api.MeshStatus:
        """One mesh, of all its machines that answer. Raises `AgentFault` with `not-found`."""
        found = await self.places.parts(name)
        return merged(found.parts, found.why, found.directory)

    async def infos(self, mesh: str) -> list[api.Info]:
        """Facts about each machine that a mesh is on."""
        answers = await self._each(mesh, lambda agent: agent.info())
        return [
            replace(answers.good[name], machine=name) if name != LOCAL else answers.good[name]
            for name in sorted(answers.good)
        ]

    async def gpus(
        self, mesh: str | None = None, *, verify: bool = False, machine: str | None = None
    ) -> api.GpuStates:
        """Machine -> its GPUs, of all that answer, or of those of a mesh that do, or of one."""
        if machine is not None:
            return await (await self.agents.get(machine)).gpus(verify=verify)
        if mesh is None:
            answers = await self._all(lambda agent: agent.gpus(verify=verify))
        else:
            answers = await self._each(mesh, lambda agent: agent.gpus(verify=verify))
        return {name: told for name in sorted(answers.good) for told in answers.good[name].values()}

    async def clocks(self, mesh: str) -> dict[str, clocks.Offset]:
        """By how much the clocks of a mesh's machines differ from this one's."""
        agents = await self.places.clients(mesh)
        return (await clocks.measure_all(agents)).good

    async def status(self, name: str) -> api.MeshStatus:
        """One mesh, with the clocks of its machines compared to this one's."""
        status = await self.mesh(name)
        if not status.machines[1:]:
            return status
        offsets = await self.clocks(name)
        machines = [
            replace(
                m, clock_offset_s=offsets[m.name].offset_s, clock_error_s=offsets[m.name].error_s
            )
            if m.name in offsets
            else m
            for m in status.machines
        ]
        return replace(status, machines=tuple(machines))

    async def modules(self, mesh: str) -> list[api.ModuleStatus]:
        """The modules of a mesh, also those of machines that don't answer."""
        return list((await self.mesh(mesh)).modules)

    async def links(self, mesh: str) -> list[api.LinkStatus]:
        """The directions of a mesh's links."""
        answers = await self._each(mesh, lambda agent: agent.links(mesh))
        return [link for name in sorted(answers.good) for link in answers.good[name]]

    async def shape(
        self, mesh: str, changes: Sequence[api.LinkChange], *, check: bool = False
    ) -> list[api.LinkStatus]:
        """Change links by hand, each direction where it is made scarce: all of them, or none."""
        found, agents = await self.places.parts(mesh), await self.places.clients(mesh)
        return await byhand.links(agents, found, mesh, changes, check=check)

    async def budgets(self, mesh: str) -> list[api.BudgetStatus]:
        """The hosts and modules of a mesh, machine by machine."""
        answers = await self._each(mesh, lambda agent: agent.budgets(mesh))
        return [one for name in sorted(answers.good) for one in answers.good[name]]

    async def usage(self, mesh: str) -> list[api.Usage]:
        """What hosts and modules use, machine by machine."""
        answers = await self._each(mesh, lambda agent: agent.usage(mesh))
        return [one for name in sorted(answers.good) for one in answers.good[name]]

    async def shape_budgets(
        self, mesh: str, changes: Sequence[api.BudgetChange], *, check: bool = False
    ) -> list[api.BudgetStatus]:
        """Change hosts and modules by hand, where they are: all of them, or none."""
        found, agents = await self.places.parts(mesh), await self.places.clients(mesh)
        return await byhand.budgets(agents, found, mesh, changes, check=check)

    async def put_secrets(self, mesh: str, values: Mapping[str, str]) -> api.MeshStatus:
        """Send each machine the values that its modules need."""
        found = await self.places.parts(mesh)

        async def send(name: str, agent: AgentClient) -> None:
            wanted = {s for m in found.parts[name].spec.modules for s in m.secrets}
            if mine := {s: value for s, value in values.items() if s in wanted}:
                await agent.put_secrets(mesh, mine)

        (await each(await self.places.clients(mesh), send)).all()
        return await self.mesh(mesh)

    async def check_secrets(self, mesh: str, values: Mapping[str, str]) -> dict[str, list[str]]:
        """Modules -> those of their secrets that they run with other values of."""
        answers = await self._each(mesh, lambda agent: agent.check_secrets(mesh, values))
        return {module: found for one in answers.all().values() for module, found in one.items()}

    async def destroy(self, name: str) -> None:
        """Ask all machines for removal."""
        (await self._each(name, lambda agent: agent.destroy(name))).all()

    # --- the timeline ------------------------------------------------------------------------

    async def timeline(
        self, mesh: str, *, last: int = 20, following: int = 20
    ) -> api.TimelineStatus:
        """Where a mesh's timeline stands, with the last and the next changes on all machines."""
        answers = await self._each(
            mesh, lambda agent: agent.timeline(mesh, last=last, following=following)
        )
        return timeline(list(answers.all().values()), last, following)

    async def order_timeline(
        self, mesh: str, order: api.TimelineOrder, at: float | None = None
    ) -> api.TimelineStatus:
        """Start, pause or reset it on all machines; it starts at the same moment everywhere."""
        agents = await self.places.clients(mesh)
        offsets: dict[str, clocks.Offset] = {}
        if order == "start":
            # The more often each is asked, the surer: but for whom, where nothing goes by it?
            played = self.places.is_played(mesh)
            tries = clocks.TRIES if played else clocks.FEW_TRIES
            offsets = (await clocks.measure_all(agents, tries)).all()
            slowest = max(offset.error_s for offset in offsets.values())
            lead_s = await self._lead_s(mesh) if at is None and played else LEAD_S
            at = time.time() + lead_s + 4 * slowest if at is None else at

        async def tell(name: str, agent: AgentClient) -> api.TimelineStatus:
            moment = offsets[name].there(at) if at is not None and offsets else None
            return await agent.order_timeline(mesh, order, moment)

        return timeline(list((await each(agents, tell)).all().values()), 20, 20)

    async def _lead_s(self, mesh: str) -> float:
        """How long before an epoch all machines have to know of it, besides the way there."""
        told = await self._each(mesh, lambda agent: agent.timeline(mesh, last=0, following=0))
        return max(LEAD_S, *(status.lead_s for status in told.all().values()))

    async def timeline_changes(self, mesh: str) -> AsyncIterator[bytes]:
        """CSV of all that was requested, machine after machine under one head."""
        first = True
        for agent in (await self.places.clients(mesh)).values():
            data = b"".join([chunk async for chunk in agent.timeline_changes(mesh)])
            yield data if first else data.partition(b"\n")[2]
            first = first and not data

    # --- what all machines say as it happens ---------------------------------------------------

    @contextlib.asynccontextmanager
    async def events(
        self, *, mesh: str | None = None, since: int | None = None, follow: bool = False
    ) -> AsyncIterator[AsyncIterator[api.Event]]:
        """Events of all machines, each with its machine's name; on entry as of `AgentClient`."""
        agents = await self._listened(mesh)
        async with contextlib.AsyncExitStack() as stack:

            async def listen(name: str, agent: AgentClient) -> AsyncIterator[api.Event]:
                events = agent.events(mesh=mesh, since=since, follow=True)
                return await stack.enter_async_context(events)

            heard = (await each(agents, listen)).good if follow else {}  # others are tried again
            streams = {
                name: self._events(name, agent, mesh, since, follow, heard.get(name))
                for name, agent in agents.items()
            }
            if not follow:
                yield by_time(list(streams.values()), lambda event: event.time)
                return
            async with contextlib.aclosing(_items(as_they_come(streams))) as items:
                yield items

    async def _listened(self, mesh: str | None) -> dict[str, AgentClient]:
        if mesh is not None:
            return await self.places.clients(mesh)
        return await self.agents.of(self.agents.names)

    async def _events(
        self,
        name: str,
        agent: AgentClient,
        mesh: str | None,
        since: int | None,
        follow: bool,
        first: AsyncIterator[api.Event] | None = None,
    ) -> AsyncGenerator[api.Event, None]:
        """Of one machine; one that is lost while it is followed is tried again, and told of."""
        failures = 0
        while True:
            try:
                listening: contextlib.AbstractAsyncContextManager[AsyncIterator[api.Event]]
                listening = agent.events(mesh=mesh, since=since, follow=follow)
                if first is not None:
                    listening, first = contextlib.nullcontext(first), None
                async with listening as events:
                    if failures:
                        yield told(name, mesh, "answers again", "found")
                    failures = 0
                    async for event in events:
                        since = event.seq
                        yield replace(event, machine=name)
            except RemoteError as error:
                if name != LOCAL or mesh is not None:
                    self._trouble(name, str(error))
                if not follow or isinstance(error, AgentFault):
                    return
                if not failures:
                    yield told(name, mesh, error.message, "lost")
            if not follow:
                return
            await _pause(failures)
            failures += 1

    async def logs(
        self,
        mesh: str,
        modules: Sequence[str],
        *,
        tail: int | None,
        follow: bool,
        since: float | None = None,
        until: float | None = None,
    ) -> AsyncIterator[api.LogLine]:
        """Log lines of modules on all machines; in the order of time unless they are followed."""
        found = await self.places.parts(mesh)
        agents = await self.places.clients(mesh)
        streams: dict[str, AsyncIterator[api.LogLine]] = {}
        for name, agent in agents.items():
            wanted = matching(modules, found.parts[name])
            if wanted is not None:
                streams[name] = self._logs(
                    name, agent, mesh, wanted, tail=tail, follow=follow, since=since, until=until
                )
        if not streams:  # the agent's own words for a name that fits nothing
            first = next(iter(agents.values()))
            streams[""] = first.logs(mesh, modules, tail=tail, follow=False)
        lines = (
            _items(as_they_come(streams))
            if follow
            else by_time(list(streams.values()), lambda line: line.time or -math.inf)
        )
        async for line in lines:
            yield line

    async def _logs(
        self,
        name: str,
        agent: AgentClient,
        mesh: str,
        modules: Sequence[str],
        *,
        tail: int | None,
        follow: bool,
        since: float | None,
        until: float | None,
    ) -> AsyncGenerator[api.LogLine, None]:
        failures = 0
        while True:
            try:
                lines = agent.logs(
                    mesh, modules, tail=tail, follow=follow, since=since, until=until
                )
                async for line in lines:
                    failures = 0
                    if line.time is not None:  # where to go on: nothing twice, nothing left out
                        since, tail = math.nextafter(line.time, math.inf), None
                    yield line
            except AgentFault:
                raise
            except RemoteError as error:
                self._trouble(name, str(error))
            if not follow:
                return
            await _pause(failures)
            failures += 1

    async def records(self, mesh: str, ids: Sequence[str]) -> AsyncIterator[api.RecordLine]:
        """Lines of all modules' message records that hold one of the ids."""
        for agent in (await self.places.clients(mesh)).values():
            async for line in agent.records(mesh, ids):
                yield line

    # --- measuring ---------------------------------------------------------------------------

    async def verify(
        self, mesh: str, request: api.VerifyRequest
    ) -> AsyncGenerator[api.VerifyLine, None]:
        """Measure a mesh: all its machines, and where nothing is asked what is between them."""
        async with contextlib.aclosing(certified(self, mesh, request)) as lines:
            async for line in lines:
                yield line

    async def capture(
        self, mesh: str, link: str, query: Mapping[str, str | float | None]
    ) -> AsyncGenerator[bytes, None]:
        """The packets of a link; of one between machines one direction, where it is made scarce."""
        answers = await self._each(mesh, lambda agent: agent.links(mesh))
        wanted = query.get("direction")
        at = [
            name
            for name, links in sorted(answers.good.items())
            if any(x.name == link and wanted in (None, "", f"{x.from_}>{x.to}") for x in links)
        ]
        if len(at) > 1:
            ways = [f"{x.from_}>{x.to}" for n in at for x in answers.good[n] if x.name == link]
            text = f"link {link} leads from machine to machine: capture one direction of it"
            raise RemoteError(at[0], text, hint=f"--direction '{ways[0]}' or '{ways[-1]}'")
        agents = await self.places.clients(mesh)
        agent = agents[at[0]] if at else next(iter(agents.values()))
        async for chunk in agent.capture(mesh, link, query):
            yield chunk

    # --- one module --------------------------------------------------------------------------

    async def order(self, mesh: str, module: str, order: api.Order) -> api.ModuleStatus:
        """Ask for a module to be started, stopped or restarted."""
        return await (await self._at(mesh, module)).order(mesh, module, order)

    async def put_source(
        self,
        mesh: str,
        module: str,
        change: api.SourceChange,
        uploads: Mapping[str, Callable[[], bytes]],
    ) -> api.ModuleStatus:
        """Let a module run from another source."""
        return await (await self._at(mesh, module)).put_source(mesh, module, change, uploads)

    async def files(self, mesh: str, module: str) -> AsyncIterator[bytes]:
        """The tar of a module's logs, records and outputs."""
        agent = await self._at(mesh, module)
        async for chunk in agent.files(mesh, module):
            yield chunk

    async def stat(self, mesh: str, module: str, path: str) -> api.PathInfo | None:
        """What is at a path inside a module."""
        return await (await self._at(mesh, module)).stat(mesh, module, path)

    async def pack(self, mesh: str, module: str, path: str) -> AsyncIterator[bytes]:
        """The tar of a file or folder inside a module."""
        agent = await self._at(mesh, module)
        async for chunk in agent.pack(mesh, module, path):
            yield chunk

    async def unpack(
        self, mesh: str, module: str, path: str, chunks: AsyncIterator[bytes]
    ) -> api.Copied:
        """Write a tar below a folder inside a module."""
        return await (await self._at(mesh, module)).unpack(mesh, module, path, chunks)

    @contextlib.asynccontextmanager
    async def exec(self, mesh: str, module: str, request: api.ExecRequest) -> AsyncIterator[Duplex]:
        """Start a command in a module."""
        async with (await self._at(mesh, module)).exec(mesh, module, request) as duplex:
            yield duplex

    @contextlib.asynccontextmanager
    async def forward(
        self, mesh: str, module: str, request: api.ForwardRequest
    ) -> AsyncIterator[Duplex]:
        """Connect to a module's port."""
        async with (await self._at(mesh, module)).forward(mesh, module, request) as duplex:
            yield duplex

    # --- how ---------------------------------------------------------------------------------

    async def _each(self, mesh: str, ask: Callable[[AgentClient], Awaitable[T]]) -> Answers[T]:
        agents = await self.places.clients(mesh)
        return await each(agents, lambda name, agent: ask(agent))

    async def _all(self, ask: Callable[[AgentClient], Awaitable[T]]) -> Answers[T]:
        agents = await self.agents.of(self.agents.names)
        answers = await each(agents, lambda name, agent: ask(agent))
        here = answers.failed.get(LOCAL)
        if here is not None and not self.agents.machines:
            raise here
        for name, error in answers.failed.items():
            if name != LOCAL:
                self._trouble(name, str(error))
        return answers

    async def _at(self, mesh: str, module: str) -> AgentClient:
        """The agent that has a module; the first one if none has: it says so in its words."""
        return await self.places.client_of(mesh, await self.places.seat(mesh, module))


async def _pause(failures: int) -> None:
    pause = AGAIN_S[min(failures, len(AGAIN_S) - 1)]
    await asyncio.sleep(pause * (1 + random.random() / 2))  # noqa: S311


async def _items(stream: AsyncIterator[tuple[str, T]]) -> AsyncGenerator[T, None]:
    async with contextlib.aclosing(stream):  # type: ignore[type-var]  # it is a generator
        async for _, item in stream:
            yield item
