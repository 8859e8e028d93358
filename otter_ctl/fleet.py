"""The agents of several machines as if they were one.

    Places ─► Agents ─┬─ here     this machine's agent, by its socket
                      ├─ m1 ─ Road ─ one SSH connection
                      └─ m2 ─ Road

A mesh is found by asking: this machine's part of it says which machines have the others; without
one here all known machines are asked. What was found is remembered for the length of one command.
`spread.py` makes a `Meshes` of it. Must not know: topologies, plans, how anything is printed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from net.errors import OtterError
from otter_agent import api
from otter_ctl.client import AgentClient
from otter_ctl.concerns import things
from otter_ctl.errors import AgentFault, PartMissing, RemoteError
from otter_ctl.many import Answers, each, together
from otter_ctl.system import allow_connections
from otter_ctl.topology.model import LOCAL, Machine

if TYPE_CHECKING:
    from otter_ctl.dialling import Throttle
    from otter_ctl.ssh import Road

CONNECT_S = 60.0
"""A dial that is tried again has its own, shorter limits."""
FEW = 100
"""Machines for which the usual limit of open files is enough."""
_TRIED = 4
"""Machines that are asked for a mesh's directory, one after the other, until one tells it."""
OnTrouble = Callable[[str, str], None]
"""(machine, what is the matter with it)."""


@dataclass(slots=True)
class Found:
    """Where a mesh is.

    Attributes:
        parts: Machine -> what its agent said.
        lost: Machine that has a part, or had -> why it can't be told.
        directory: What the parts leave to it, where there are many.
        stale: Machine -> its part of an earlier run, left when that was destroyed elsewhere; or
            what it still has since it was left out.
        absent: Machine that was left out -> why nobody knows whether it still has something.
    """

    parts: dict[str, api.MeshStatus] = field(default_factory=dict)
    lost: dict[str, OtterError] = field(default_factory=dict)
    stale: dict[str, api.MeshStatus] = field(default_factory=dict)
    absent: dict[str, OtterError] = field(default_factory=dict)
    directory: api.Directory | None = None

    @property
    def aways(self) -> dict[str, api.Away]:
        """All machines that anybody tells of, with what is on them."""
        listed = self.directory.machines if self.directory is not None else ()
        told = (away for part in self.parts.values() for away in part.spec.away)
        return {away.machine: away for away in (*listed, *told)}

    @property
    def left(self) -> set[str]:
        """Machines that parts say were left out."""
        return {name for part in self.parts.values() for name in part.spec.left}

    def known_of(self, machine: str) -> str:
        """What a machine that gives no answer had, as others tell: `host edge, module asr`."""
        away = self.aways.get(machine)
        hosts, modules = (away.hosts, tuple(away.modules)) if away is not None else ((), ())
        return things(hosts, modules) or "nothing is known"

    @property
    def why(self) -> dict[str, str]:
        """The same, in words without what to try."""
        return {name: error.message.removeprefix(f"{name}: ") for name, error in self.lost.items()}


class Agents:
    """Clients of agents, by machine; each is connected when it is first needed.

    Args:
        here: The socket of this machine's agent.
        machines: The others that are known.
        force: As of `AgentClient`.
        reads_only: Likewise.
    """

    def __init__(
        self,
        here: Path,
        machines: Mapping[str, Machine],
        *,
        force: bool,
        reads_only: bool = False,
    ) -> None:
        self._here = here
        self.machines = {n: m for n, m in machines.items() if not m.is_local}
        self.builders = tuple(n for n, m in machines.items() if m.builder)
        self._client = partial(AgentClient, force=force, reads_only=reads_only)
        self._stack = AsyncExitStack()
        self._clients: dict[str, AgentClient] = {}
        self.roads: dict[str, Road] = {}
        self._throttle: Throttle | None = None
        if len(self.machines) > FEW:
            allow_connections()

    @property
    def names(self) -> list[str]:
        """All that are known, this one first."""
        return [LOCAL, *self.machines]

    async def get(self, name: str) -> AgentClient:
        """The client of a machine's agent.

        Raises:
            RemoteError: Nobody knows the machine.
        """
        if name not in self._clients:
            client = await self._stack.enter_async_context(await self._made(name))
            self._clients[name] = client
        return self._clients[name]

    async def of(self, names: Iterable[str]) -> dict[str, AgentClient]:
        """Several of them, those that are known."""
        known = {LOCAL, *self.machines}
        return {name: await self.get(name) for name in names if name in known}

    async def _made(self, name: str) -> AgentClient:
        if name == LOCAL and LOCAL not in self.machines:
            return self._client(self._here, LOCAL)
        if name not in self.machines:
            hint = f"add [machines.{name}] to your site file"
            raise RemoteError(name, "your site file knows no such machine", hint=hint)
        if self.machines[name].direct:
            return self._client(Path(self.machines[name].socket), name)
        machine = self.machines[name]
        if machine.docker is not None:
            from otter_ctl.enclosed import enclosed

            way = enclosed(machine.docker, machine.socket)
            return self._client(Path(machine.socket), name, way, connect_s=CONNECT_S)
        from otter_ctl.dialling import Throttle  # only where there is one: it takes 0.1 s
        from otter_ctl.ssh import Road

        self._throttle = self._throttle or Throttle()
        road = await self._stack.enter_async_context(Road(machine, self._throttle))
        self.roads[name] = road
        way = road.open(machine.socket)
        return self._client(Path(machine.socket), name, way, connect_s=CONNECT_S)

    async def aclose(self) -> None:
        """Let go of all."""
        await self._stack.aclose()


class Places:
    """Where meshes are.

    Args:
        agents: Of all machines.
        on_trouble: Told of machines that give no answer.
    """

    def __init__(self, agents: Agents, on_trouble: OnTrouble) -> None:
        self.agents = agents
        self.on_trouble = on_trouble
        self._where: dict[str, tuple[str, ...]] = {}
        self._directories: dict[str, api.Directory] = {}
        self._found: dict[str, Found] = {}
        self._seats: dict[str, dict[str, str]] = {}
        self._stale: dict[str, tuple[str, ...]] = {}
        self._self: dict[str, str] = {}
        """Mesh -> what this machine is called in it."""

    async def look(self, mesh: str, more: Collection[str] = ()) -> Found:
        """Ask for all parts of a mesh.

        Args:
            mesh: Its name.
            more: Machines to ask though no part names them; then no others but those are.
        """
        found = Found()
        asked: set[str] = set()
        todo = set(more) or {LOCAL}
        while todo:
            answers = await self._ask(mesh, todo)
            asked |= todo
            self._take(mesh, answers, found, more)
            await self._list(mesh, found)
            todo = (found.aways.keys() | found.left) - asked - {self._self.get(mesh, LOCAL)}
            if not found.parts and not more:
                todo = set(self.agents.names) - asked
        return self._settled(mesh, found, more)

    async def take(self, mesh: str, answers: Answers[api.MeshStatus]) -> Found:
        """As `look`, of all parts of a mesh, as they have just been told."""
        found = Found()
        self._take(mesh, answers, found, answers.good)
        await self._list(mesh, found)
        return self._settled(mesh, found, answers.good)

    def _settled(self, mesh: str, found: Found, more: Collection[str]) -> Found:
        """The same, remembered, and without what is none of the mesh."""
        self._set_apart(mesh, found)
        named = found.aways.keys()
        found.absent = {n: e for n, e in found.lost.items() if n in found.left and n not in named}
        found.lost = {n: e for n, e in found.lost.items() if n in named or n in more}
        for name in named - found.parts.keys() - found.lost.keys():
            if name != self._self.get(mesh, LOCAL):
                found.lost[name] = PartMissing(name, "has no part of the mesh", hint="apply again")
        _one_mesh(mesh, found)
        self._where[mesh] = tuple(found.parts)
        self._stale[mesh] = tuple(found.stale)
        self._found[mesh] = found
        self._seats[mesh] = {
            module.name: name for name, part in found.parts.items() for module in part.spec.modules
        }
        return found

    async def _list(self, mesh: str, found: Found) -> None:
        """The directory of the newest apply, where parts have one; kept, as they all have it."""
        digests = Counter(p.spec.directory for p in found.parts.values() if p.spec.directory)
        for digest, _ in digests.most_common(1):
            if digest not in self._directories:
                holders = [n for n, p in found.parts.items() if p.spec.directory == digest]
                self._directories[digest] = await self._directory(mesh, holders[:_TRIED])
            found.directory = self._directories[digest]

    async def _directory(self, mesh: str, holders: Sequence[str]) -> api.Directory:
        """Of the first of some machines that tells it: they all have the same."""
        for name in holders[:-1]:
            with suppress(OtterError):
                return await (await self._client(mesh, name)).directory(mesh)
        return await (await self._client(mesh, holders[-1])).directory(mesh)

    def _set_apart(self, mesh: str, found: Found) -> None:
        """Parts of an earlier run: machines that they name have one of a later run.

        And those of machines that were left out, as others say that this one doesn't say it of.
        """
        parts, left = found.parts, found.left
        for name, part in list(parts.items()):
            if name in left and any(
                name in p.spec.left and n not in part.spec.left for n, p in parts.items()
            ):
                found.stale[name] = part
                text = f"{name}: was left out of mesh {mesh} and still has a part of it"
                self.on_trouble(name, f"{text}: the next apply or destroy removes it")
                continue
            others = (parts.get(away.machine) for away in part.spec.away)
            if any(other is not None and other.spec.run > part.spec.run for other in others):
                found.stale[name] = part
                text = f"{name}: still has a part of mesh {mesh} of an earlier run, {part.spec.run}"
                self.on_trouble(name, f"{text}: the next apply or destroy removes it")
        for name in found.stale:
            del parts[name]

    async def stale(self, mesh: str) -> dict[str, AgentClient]:
        """Agents that still have a part of an earlier run, as far as was looked."""
        return {name: await self._client(mesh, name) for name in self._stale.get(mesh, ())}

    async def parts(self, mesh: str) -> Found:
        """As `look`, of a mesh that is there.

        Raises:
            AgentFault: `not-found`.
            OtterError: Nobody who answers has it, and some don't answer.
        """
        found = await self.look(mesh)
        if found.parts:
            return found
        silent = found.lost
        if silent:
            raise together(silent)
        text = f"no mesh {mesh!r} here, nor on any machine of your site file"
        if not self.agents.machines:
            text = f"no mesh {mesh!r} here"
        raise AgentFault(LOCAL, api.Problem(code="not-found", message=text, hint="otterctl ls"))

    async def clients(self, mesh: str) -> dict[str, AgentClient]:
        """The agents that have a part of a mesh, by machine."""
        if mesh not in self._where:
            await self.parts(mesh)
        return {name: await self._client(mesh, name) for name in self._where[mesh]}

    async def seat(self, mesh: str, module: str) -> str:
        """The machine that has a module; asked for once, as fetching does for thousands.

        Raises:
            OtterError: It is on a machine that gives no answer.
        """
        if module not in self._seats.get(mesh, ()):
            await self.parts(mesh)
        found = self._found[mesh]
        if module not in self._seats[mesh]:
            for away in found.aways.values():
                if module in away.modules and away.machine in found.lost:
                    raise found.lost[away.machine]
        return self._seats[mesh].get(module) or next(iter(found.parts))  # it says what is wrong

    def is_played(self, mesh: str) -> bool:
        """Whether something of a mesh changes by itself, as far as is known."""
        found = self._found.get(mesh)
        timelines = [part.spec.timeline for part in found.parts.values()] if found else []
        return not timelines or any(t != api.TimelineSpec() for t in timelines)

    async def client_of(self, mesh: str, name: str) -> AgentClient:
        """The agent of one machine of a mesh."""
        return await self._client(mesh, name)

    async def _client(self, mesh: str, name: str) -> AgentClient:
        return await self.agents.get(LOCAL if name == self._self.get(mesh) else name)

    async def _ask(self, mesh: str, names: Collection[str]) -> Answers[api.MeshStatus | None]:
        known = await self.agents.of(names)
        answers = await each(known, lambda name, agent: agent.find_mesh(mesh))
        for name in set(names) - known.keys():
            hint = f"add [machines.{name}] to your site file"
            error = RemoteError(name, "your site file knows no such machine", hint=hint)
            answers.failed[name] = error
        return answers

    def _take(
        self,
        mesh: str,
        answers: Answers[api.MeshStatus] | Answers[api.MeshStatus | None],
        found: Found,
        more: Collection[str],
    ) -> None:
        for name, status in answers.good.items():
            if status is None:
                continue
            called = status.spec.machine or name
            if name == LOCAL and LOCAL not in self.agents.machines:
                self._self[mesh] = called
            found.parts[called if name == LOCAL else name] = status
        for name, error in answers.failed.items():
            if name == LOCAL and LOCAL not in more and self.agents.machines:
                continue  # a laptop needs no agent to have meshes elsewhere
            found.lost[name] = error
            if name != LOCAL:
                left = f"; it was left out of mesh {mesh}, and may still have a part of it"
                self.on_trouble(name, f"{error}{left if name in found.left else ''}")


def _one_mesh(mesh: str, found: Found) -> None:
    """Two people may each have a mesh of that name, on different machines."""
    runs = {part.spec.run for part in found.parts.values()}
    alone = [name for name, part in found.parts.items() if part.spec.is_whole]
    if len(runs) > 1 and alone:
        where = ", ".join(f"{name} ({part.spec.run})" for name, part in found.parts.items())
        text = f"several meshes are called {mesh}: on {where}"
        raise RemoteError(LOCAL, text, hint="name another site file with --site")


def no_trouble(machine: str, what: str) -> None:
    """Says nothing."""
