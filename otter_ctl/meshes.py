"""Whoever can be asked about meshes: one agent (`client.py`), or all machines' (`spread.py`).

Verbs know this alone, so what they do is the same for a mesh on one machine and on many. What only
one machine can say or do (its facts, its images, its part of a mesh) isn't here: that is
`AgentClient`'s own. Must not know: HTTP, SSH, where a mesh is.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import TYPE_CHECKING, Protocol, Self

from otter_agent import api
from otter_ctl.errors import AgentFault

if TYPE_CHECKING:
    from otter_ctl.duplex import Duplex


class Meshes(Protocol):
    """What can be asked; use with `async with`.

    All calls raise `AgentFault` where an agent refuses (`not-found`: there is no such mesh), and
    `AgentUnreachable` or `MachineUnreachable` where nobody answers.

    Attributes:
        machine: How to call it in errors.
        force: Act on meshes of others as well, and on ones that have changed (`--force`).
    """

    machine: str
    force: bool

    async def __aenter__(self) -> Self:
        """Ready to be asked."""

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Let go of all connections."""

    # --- whole meshes ------------------------------------------------------------------------

    async def meshes(self) -> list[api.MeshSummary]:
        """All meshes, wherever they are."""

    async def mesh(self, name: str) -> api.MeshStatus:
        """One mesh, of all its machines that answer."""

    async def find_mesh(self, name: str) -> api.MeshStatus | None:
        """One mesh, or None."""
        try:
            return await self.mesh(name)
        except AgentFault as fault:
            if fault.code == "not-found":
                return None
            raise

    async def status(self, name: str) -> api.MeshStatus:
        """The same, with what takes a little longer to find out: clocks of several machines."""

    async def infos(self, mesh: str) -> list[api.Info]:
        """Facts about each machine that a mesh is on."""

    async def gpus(
        self, mesh: str | None = None, *, verify: bool = False, machine: str | None = None
    ) -> api.GpuStates:
        """Machine -> its GPUs, of all that answer, or of those of a mesh that do, or of one.

        With `verify` what can hold modules to their parts of them is tried.

        Raises:
            RemoteError: The one is not known, or doesn't answer.
        """

    async def modules(self, mesh: str) -> list[api.ModuleStatus]:
        """The modules of a mesh."""

    async def links(self, mesh: str) -> list[api.LinkStatus]:
        """The directions of a mesh's links."""

    async def shape(
        self, mesh: str, changes: Sequence[api.LinkChange], *, check: bool = False
    ) -> list[api.LinkStatus]:
        """Change links by hand; the directions that were named, once that is in force.

        With `check` nothing is changed: it only says whether it could be.
        """

    async def budgets(self, mesh: str) -> list[api.BudgetStatus]:
        """The hosts and modules of a mesh."""

    async def usage(self, mesh: str) -> list[api.Usage]:
        """What hosts and modules that run use."""

    async def shape_budgets(
        self, mesh: str, changes: Sequence[api.BudgetChange], *, check: bool = False
    ) -> list[api.BudgetStatus]:
        """Change hosts and modules by hand; those that were named, once that is in force.

        With `check` nothing is changed: it only says whether it could be.
        """

    async def put_secrets(self, mesh: str, values: Mapping[str, str]) -> api.MeshStatus:
        """Send the values of a mesh's secrets; modules that run with others start anew."""

    async def check_secrets(self, mesh: str, values: Mapping[str, str]) -> dict[str, list[str]]:
        """Modules -> those of their secrets that they run with other values of; changes nothing."""

    async def destroy(self, name: str) -> None:
        """Ask for removal; follow `events` until `destroyed`."""

    # --- the timeline ------------------------------------------------------------------------

    async def timeline(
        self, mesh: str, *, last: int = 20, following: int = 20
    ) -> api.TimelineStatus:
        """Where a mesh's timeline stands, with the last and the next changes."""

    async def order_timeline(
        self, mesh: str, order: api.TimelineOrder, at: float | None = None
    ) -> api.TimelineStatus:
        """Start, pause or reset it; where it stands right after that."""

    def timeline_changes(self, mesh: str) -> AsyncIterator[bytes]:
        """CSV of all that it requested, and when that was in force; nothing: nothing yet."""

    # --- what is said as it happens ----------------------------------------------------------

    def events(
        self, *, mesh: str | None = None, since: int | None = None, follow: bool = False
    ) -> AbstractAsyncContextManager[AsyncIterator[api.Event]]:
        """Events; on entry with `follow`, nothing that happens from now on is missed."""

    def logs(
        self,
        mesh: str,
        modules: Sequence[str],
        *,
        tail: int | None,
        follow: bool,
        since: float | None = None,
        until: float | None = None,
    ) -> AsyncIterator[api.LogLine]:
        """Log lines of some modules, named or by glob (none: all), in the order of time."""

    def records(self, mesh: str, ids: Sequence[str]) -> AsyncIterator[api.RecordLine]:
        """Lines of all modules' message records that hold one of the ids (100 at the most)."""

    # --- measuring ---------------------------------------------------------------------------

    def verify(self, mesh: str, request: api.VerifyRequest) -> AsyncGenerator[api.VerifyLine, None]:
        """Measure a mesh; lines as they come."""

    def capture(
        self, mesh: str, link: str, query: Mapping[str, str | float | None]
    ) -> AsyncGenerator[bytes, None]:
        """The packets of a link as a pcapng file, as they come; None in `query` is left out."""

    # --- one module --------------------------------------------------------------------------

    async def order(self, mesh: str, module: str, order: api.Order) -> api.ModuleStatus:
        """Ask for a module to be started, stopped or restarted; its state right after that."""

    async def put_source(
        self,
        mesh: str,
        module: str,
        change: api.SourceChange,
        uploads: Mapping[str, Callable[[], bytes]],
    ) -> api.ModuleStatus:
        """Let a module run from another source, with what that needs; nothing else changes."""

    def files(self, mesh: str, module: str) -> AsyncIterator[bytes]:
        """The tar of a module's logs, records and outputs, as it comes."""

    async def stat(self, mesh: str, module: str, path: str) -> api.PathInfo | None:
        """What is at a path inside a module; None: nothing."""

    def pack(self, mesh: str, module: str, path: str) -> AsyncIterator[bytes]:
        """The tar of a file or folder inside a module; names begin with the path's last step."""

    async def unpack(
        self, mesh: str, module: str, path: str, chunks: AsyncIterator[bytes]
    ) -> api.Copied:
        """Write a tar below a folder inside a module."""

    def exec(
        self, mesh: str, module: str, request: api.ExecRequest
    ) -> AbstractAsyncContextManager[Duplex]:
        """Start a command in a module."""

    def forward(
        self, mesh: str, module: str, request: api.ForwardRequest
    ) -> AbstractAsyncContextManager[Duplex]:
        """Connect to a module's port."""
