"""What one agent can be asked about machine and meshes: its API, as typed calls.

Must not know: HTTP (`api_client.py`), topology, how output looks, how an agent is started.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import (
    AsyncGenerator,
    AsyncIterator,
    Callable,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from typing import TYPE_CHECKING
from urllib.parse import quote

from otter_agent import api
from otter_ctl.api_client import ApiClient
from otter_ctl.errors import AgentFault, RemoteError
from otter_ctl.http import ANSWER_S
from otter_ctl.meshes import Meshes

if TYPE_CHECKING:
    from otter_ctl.duplex import Duplex


Content = Callable[[], bytes | Iterator[bytes]]
"""Gives what is to be sent: all of it, or piece by piece, as it is read."""


class AgentClient(ApiClient, Meshes):
    """One agent: its part of meshes, and what only it can say; use with `async with`."""

    # --- calls -------------------------------------------------------------------------------

    async def info(self, *, measured: bool = False) -> api.Info:
        """Facts about the agent and its machine.

        Args:
            measured: With what predictions rest on: it takes two seconds the first time.
        """
        return await self.ask("/v1/info", api.Info, "POST" if measured else "GET")

    async def infos(self, mesh: str) -> list[api.Info]:
        """The same of each machine that a mesh is on."""
        return [await self.info()]

    async def gpus(
        self, mesh: str | None = None, *, verify: bool = False, machine: str | None = None
    ) -> api.GpuStates:
        """Of this machine alone."""
        if machine is not None and machine != self.machine:
            raise RemoteError(machine, "no site file knows such a machine", hint="otterctl gpu ls")
        path, verb = ("/v1/gpus/verify", "POST") if verify else ("/v1/gpus", "GET")
        return {self.machine: await self.ask(path, api.GpuState, verb)}

    async def meshes(self) -> list[api.MeshSummary]:
        """All meshes there."""
        return await self.ask("/v1/meshes", list[api.MeshSummary])

    async def mesh(self, name: str) -> api.MeshStatus:
        """One mesh. Raises `AgentFault` with code `not-found`."""
        return await self.ask(_mesh(name), api.MeshStatus)

    async def status(self, name: str) -> api.MeshStatus:
        """The same, with what takes a little longer to find out: clocks of several machines."""
        return await self.mesh(name)

    async def put_mesh(
        self,
        spec: api.MeshSpec,
        uploads: Mapping[str, Content],
        *,
        generation: int | None = None,
        retry: bool = True,
    ) -> api.MeshStatus:
        """Ask for `spec`.

        Args:
            spec: What is desired.
            uploads: What it needs: digest -> a function that gives the content.
            generation: Of the mesh for which it was planned (0: there was none); the agent refuses
                (`changed`) if somebody has changed it since. None: whatever is there now.
            retry: Whether modules that have failed or were stopped, and are as before, are tried
                again.
        """
        path = _mesh(spec.name)
        body = api.encode(spec)
        query = [] if generation is None else [("generation", str(generation))]
        query += [] if retry else [("no_retry", "1")]
        try:
            return await self.ask(path, api.MeshStatus, "PUT", query=query, body=body)
        except AgentFault as fault:
            if fault.code != "missing-blobs" or not uploads.keys() >= set(fault.problem.missing):
                raise
            await self.send(fault.problem.missing, uploads)
        return await self.ask(path, api.MeshStatus, "PUT", query=query, body=body)

    async def directory(self, mesh: str) -> api.Directory:
        """What all parts of a mesh on many machines say alike."""
        return await self.ask(_mesh(mesh, "directory"), api.Directory)

    async def send(self, some: Iterable[str], uploads: Mapping[str, Content]) -> None:
        """Bring uploads that the agent lacks."""
        for digest in some:
            content = uploads[digest]()
            body = content if isinstance(content, bytes) else _read(content)
            async with self.request("PUT", f"/v1/blobs/{digest}", body=body):
                pass

    async def upload(self, some: Iterable[str], uploads: Mapping[str, Content]) -> None:
        """Bring what the agent lacks of some uploads, by their digests."""
        await self.bring({d: uploads[d] for d in sorted(some) if d in uploads})

    async def bring(self, uploads: Mapping[str, Content]) -> None:
        """Bring what the agent lacks of these."""
        for digest, content in uploads.items():
            try:
                async with self.request("HEAD", f"/v1/blobs/{digest}"):
                    pass
            except AgentFault:
                await self.send([digest], {digest: content})

    async def lease(self, mesh: str, lease: api.Lease) -> None:
        """Take the turn to change a mesh, keep it, or give it back; requests then say so.

        Raises:
            AgentFault: `locked`: somebody else has it.
        """
        await self.ask(_mesh(mesh, "lease"), api.Lease, "PUT", body=api.encode(lease))
        self.holder = lease.holder if lease.for_s else ""

    async def reach(self, local: str, remote: str, mtu: int) -> api.Reach:
        """How the machine reaches another one's address for data."""
        query = [("from", local), ("to", remote), ("mtu", str(mtu))]
        return await self.ask("/v1/reach", api.Reach, query=query)

    async def underlay(self, asked: api.Probing) -> api.Measured:
        """Have the machine measure the network to another, or answer one that does."""
        return await self.ask("/v1/underlay", api.Measured, "POST", body=api.encode(asked))

    async def knock(self, asked: api.Knocking) -> api.Knocked:
        """Have the machine try where tunnels come in at others, or answer at its own ports."""
        return await self.ask("/v1/knock", api.Knocked, "POST", body=api.encode(asked))

    async def clock(self) -> api.ClockReading:
        """What the machine's clocks say."""
        return await self.ask("/v1/clock", api.ClockReading)

    async def check_mesh(
        self, spec: api.MeshSpec, generation: int | None = None
    ) -> tuple[api.Problem, ...]:
        """Why the agent would refuse `spec`: room, mounts, ports; changes nothing.

        With `generation` (see `put_mesh`) also what it lacks of uploads.
        """
        path, body = _mesh(spec.name, "check"), api.encode(spec)
        query = [] if generation is None else [("generation", str(generation))]
        return await self.ask(path, tuple[api.Problem, ...], "POST", query=query, body=body)

    async def put_secrets(self, mesh: str, values: Mapping[str, str]) -> api.MeshStatus:
        """Send the values of a mesh's secrets; modules that run with others start anew."""
        body = api.encode(dict(values))
        return await self.ask(_mesh(mesh, "secrets"), api.MeshStatus, "PUT", body=body)

    async def check_secrets(self, mesh: str, values: Mapping[str, str]) -> dict[str, list[str]]:
        """Modules -> those of their secrets that they run with other values of; changes nothing."""
        body = api.encode(dict(values))
        return await self.ask(
            _mesh(mesh, "secrets", "check"), dict[str, list[str]], "POST", body=body
        )

    async def modules(self, mesh: str) -> list[api.ModuleStatus]:
        """The modules of a mesh. Raises `AgentFault` with code `not-found`."""
        return await self.ask(_mesh(mesh, "modules"), list[api.ModuleStatus])

    async def order(self, mesh: str, module: str, order: api.Order) -> api.ModuleStatus:
        """Ask for a module to be started, stopped or restarted; its state right after that."""
        return await self.ask(_mesh(mesh, "modules", module, order), api.ModuleStatus, "POST")

    async def links(self, mesh: str) -> list[api.LinkStatus]:
        """The directions of a mesh's links. Raises `AgentFault` with code `not-found`."""
        return await self.ask(_mesh(mesh, "links"), list[api.LinkStatus])

    async def shape(
        self, mesh: str, changes: Sequence[api.LinkChange], *, check: bool = False
    ) -> list[api.LinkStatus]:
        """Change links by hand; the directions that were named, once that is in force.

        With `check` it only says whether that could be.

        Raises:
            AgentFault: `not-found`, `bad-request`, `unsupported-link`: nothing was changed.
        """
        path = _mesh(mesh, "links") + "?check=1" * check
        return await self.ask(path, list[api.LinkStatus], "PATCH", body=api.encode(list(changes)))

    async def budgets(self, mesh: str) -> list[api.BudgetStatus]:
        """The hosts, then the modules of a mesh. Raises `AgentFault` with code `not-found`."""
        return await self.ask(_mesh(mesh, "budgets"), list[api.BudgetStatus])

    async def usage(self, mesh: str) -> list[api.Usage]:
        """What the hosts and the modules that run use."""
        return await self.ask(_mesh(mesh, "usage"), list[api.Usage])

    async def shape_budgets(
        self, mesh: str, changes: Sequence[api.BudgetChange], *, check: bool = False
    ) -> list[api.BudgetStatus]:
        """Change hosts and modules by hand, as `shape`. Raises `AgentFault`, also `overcommit`."""
        path, body = _mesh(mesh, "budgets") + "?check=1" * check, api.encode(list(changes))
        return await self.ask(path, list[api.BudgetStatus], "PATCH", body=body)

    async def timeline(
        self, mesh: str, *, last: int = 20, following: int = 20
    ) -> api.TimelineStatus:
        """Where a mesh's timeline stands, with the last and the next changes."""
        query = [("last", str(last)), ("next", str(following))]
        return await self.ask(_mesh(mesh, "timeline"), api.TimelineStatus, query=query)

    async def order_timeline(
        self, mesh: str, order: api.TimelineOrder, at: float | None = None
    ) -> api.TimelineStatus:
        """Start (at a moment of the machine's clock; None: now), pause or reset it.

        Returns:
            Where it stands right after that.
        """
        query = [] if at is None else [("at", repr(at))]
        where = _mesh(mesh, "timeline", order)
        return await self.ask(where, api.TimelineStatus, "POST", query=query)

    async def timeline_changes(self, mesh: str) -> AsyncIterator[bytes]:
        """CSV of all that it requested, and when that was in force; nothing: nothing yet."""
        path = _mesh(mesh, "timeline", "changes")
        async for chunk in self.chunks(path, answer_s=ANSWER_S):
            yield chunk

    async def put_source(
        self,
        mesh: str,
        module: str,
        change: api.SourceChange,
        uploads: Mapping[str, Callable[[], bytes]],
    ) -> api.ModuleStatus:
        """Let a module run from another source, with what that needs; nothing else changes.

        Raises:
            AgentFault: `changed`: the module isn't as `change.before` says any more.
        """
        await self.bring(uploads)
        path = _mesh(mesh, "modules", module, "source")
        return await self.ask(path, api.ModuleStatus, "PUT", body=api.encode(change))

    async def destroy(self, name: str) -> None:
        """Ask for removal; follow `events` until `destroyed`."""
        async with self.request("DELETE", _mesh(name)):
            pass

    async def images(self) -> list[api.ImageInfo]:
        """Images and environments that OTTER made there."""
        return await self.ask("/v1/images", list[api.ImageInfo])

    async def prune(self, *, dry_run: bool = False) -> api.Pruned:
        """Remove those that nothing uses, or say which these are."""
        query = [("dry_run", "1")] if dry_run else []
        return await self.ask("/v1/images/prune", api.Pruned, "POST", query=query, answer_s=None)

    # --- streams -----------------------------------------------------------------------------

    @contextlib.asynccontextmanager
    async def events(
        self, *, mesh: str | None = None, since: int | None = None, follow: bool = False
    ) -> AsyncIterator[AsyncIterator[api.Event]]:
        """Events; on entry with `follow`, nothing that happens from now on is missed."""
        query = [("follow", "1" if follow else "0")]
        if mesh is not None:
            query.append(("mesh", mesh))
        if since is not None:
            query.append(("since", str(since)))
        async with self.request("GET", "/v1/events", query=query) as response:
            yield self.lines(response, api.Event)

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
        """Log lines of some modules, named or by glob (none: all), in the order of time.

        Args:
            mesh: Of which mesh.
            modules: Names and globs.
            tail: Only the last so many lines of each.
            follow: Go on with what is printed next.
            since: Only lines of this time (seconds since 1970) or later.
            until: Only lines of this time or earlier.
        """
        query = [("module", m) for m in modules] + [("follow", "1" if follow else "0")]
        wanted = {"tail": tail, "since": since, "until": until}
        query += [(name, str(value)) for name, value in wanted.items() if value is not None]
        async with self.request("GET", _mesh(mesh, "logs"), query=query) as response:
            async for line in self.lines(response, api.LogLine):
                yield line

    async def records(self, mesh: str, ids: Sequence[str]) -> AsyncIterator[api.RecordLine]:
        """Lines of all modules' message records that hold one of the ids (100 at the most)."""
        query = [("id", one) for one in ids]
        where = _mesh(mesh, "messages")
        async with self.request("GET", where, query=query, answer_s=None) as response:
            async for line in self.lines(response, api.RecordLine):
                yield line

    async def verify(
        self, mesh: str, request: api.VerifyRequest
    ) -> AsyncGenerator[api.VerifyLine, None]:
        """Measure a mesh; lines as they come. Raises `AgentFault` where it can't be."""
        async with self.request(
            "POST", _mesh(mesh, "verify"), body=api.encode(request), answer_s=None
        ) as response:
            async for line in self.lines(response, api.VerifyLine):
                if line.problem is not None:
                    raise AgentFault(self.machine, line.problem)
                yield line

    async def capture(
        self, mesh: str, link: str, query: Mapping[str, str | float | None]
    ) -> AsyncGenerator[bytes, None]:
        """The packets of a link as a pcapng file, as they come; None in `query` is left out."""
        asked = [(name, str(value)) for name, value in query.items() if value is not None]
        path = _mesh(mesh, "links", link, "capture")
        async for chunk in self.chunks(path, query=asked):
            yield chunk

    async def files(self, mesh: str, module: str) -> AsyncIterator[bytes]:
        """The tar of a module's logs, records and outputs, as it comes."""
        path = _mesh(mesh, "modules", module, "files")
        async for chunk in self.chunks(path):  # it looks at all first
            yield chunk

    async def stat(self, mesh: str, module: str, path: str) -> api.PathInfo | None:
        """What is at a path inside a module; None: nothing."""
        query = [("path", path)]
        try:
            return await self.ask(_mesh(mesh, "modules", module, "stat"), api.PathInfo, query=query)
        except AgentFault as fault:
            if fault.code == "no-such-path":
                return None
            raise

    async def pack(self, mesh: str, module: str, path: str) -> AsyncIterator[bytes]:
        """The tar of a file or folder inside a module; names begin with the path's last step."""
        where = _mesh(mesh, "modules", module, "archive")
        async for chunk in self.chunks(where, query=[("path", path)]):
            yield chunk

    async def unpack(
        self, mesh: str, module: str, path: str, chunks: AsyncIterator[bytes]
    ) -> api.Copied:
        """Write a tar below a folder inside a module."""
        return await self.ask(
            _mesh(mesh, "modules", module, "archive"), api.Copied, "PUT",
            query=[("path", path)], body=chunks, answer_s=None,
        )  # fmt: skip

    @contextlib.asynccontextmanager
    async def exec(self, mesh: str, module: str, request: api.ExecRequest) -> AsyncIterator[Duplex]:
        """Start a command in a module.

        Bytes that are sent are its stdin (empty: the end), text is a `TerminalSize`. The first byte
        of what comes says what follows: 1 or 2 its output, 0 JSON, `{"exit": N}` or
        `{"error": Problem}`, and the end.
        """
        async with self.duplex(_mesh(mesh, "modules", module, "exec")) as duplex:
            await duplex.send(api.encode(request).decode())
            yield duplex

    @contextlib.asynccontextmanager
    async def forward(
        self, mesh: str, module: str, request: api.ForwardRequest
    ) -> AsyncIterator[Duplex]:
        """Connect to a module's port.

        Bytes are what is sent and received: of TCP a part (empty: the end of that direction), of
        UDP a datagram each. Text, and the end: the connection broke.

        Raises:
            AgentFault: It can't be connected (`refused`), or there is nothing to connect to.
        """
        async with self.duplex(_mesh(mesh, "modules", module, "forward")) as duplex:
            await duplex.send(api.encode(request).decode())
            refusal = await duplex.receive()
            if refusal is None or isinstance(refusal, bytes):
                raise self.unreachable("it talks otherwise than expected")
            if refusal:
                raise self.fault("forward", refusal.encode())
            yield duplex


def _mesh(*names: str) -> str:
    """The path of a mesh, or of what is below it; names may hold anything."""
    return "/".join(["/v1/meshes", *(quote(name, safe="") for name in names)])


async def _read(pieces: Iterator[bytes]) -> AsyncIterator[bytes]:
    """Each when it is sent; whoever reads from a disk meanwhile holds nothing else up."""
    while (piece := await asyncio.to_thread(next, pieces, None)) is not None:
        yield piece
