"""What a player of a timeline works with. Pure."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from net.links.changes import Change
from otter_agent.budgets.subjects import Subject
from otter_agent.links import clock
from otter_agent.links.base import Outcome
from otter_agent.links.leases import Moment
from otter_agent.links.telling import Layer, Tell
from otter_agent.links.ways import Way
from otter_agent.timeline import ahead
from otter_agent.timeline.compile import Read


class Links(ahead.Links, Protocol):
    """The links of the mesh: `otter_agent.links.book.LinkBook`."""

    @property
    def keeps_time(self) -> bool:
        """Whether their driver lets packets go at a trace's opportunities by itself."""
        ...

    def expect(self, links: Collection[str]) -> None:
        """These will be changed."""
        ...

    async def change(
        self,
        layer: Layer,
        changes: Mapping[Way, Change],
        *,
        instead: bool = False,
        quiet: bool = False,
    ) -> dict[Way, Outcome]:
        """Change directions, and return when that is in force."""
        ...


class Workers(Protocol):
    """The mesh's hosts and modules: `otter_agent.timeline.workers.Workers`."""

    def differing(self, wanted: Mapping[Any, Change]) -> Collection[Subject]:
        """Those of which something else was asked last, perhaps by an agent before this one."""
        ...

    async def change(self, changes: Mapping[Subject, Change]) -> dict[Subject, str]:
        """Change them, and return when that is in force; why it isn't, of those it isn't of."""
        ...

    async def strike(self, action: str, modules: Collection[str]) -> str:
        """Restart or kill modules; the first that can't be, or ""."""
        ...


class Keep(Protocol):
    """Where it is kept across the agent's lives."""

    def timeline(self, mesh: str) -> bytes | None:
        """What is kept of a mesh."""
        ...

    def put_timeline(self, mesh: str, kept: bytes) -> None:
        """Keep it. Raises `AgentError` on a full disk."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Around:
    """What a player works with.

    Attributes:
        links: Are told what to change.
        workers: The same, of hosts and modules.
        keep: Where the epoch is kept.
        read: Gives blobs.
        tell: Records events.
        file: Where requested against applied goes.
        now: The clocks.
    """

    links: Links
    workers: Workers
    keep: Keep
    read: Read
    tell: Tell
    file: Path
    now: Callable[[], Moment] = field(default=clock.now)
