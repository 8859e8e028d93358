"""What a store of runnable things is: images of an engine, or environments of the process runtime.

Stores turn a module's `image` or `build` into an `Artifact`, once per content: the name of what
they make is a hash of everything that goes in (context, base, architecture, this package's `net`).
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Protocol, runtime_checkable

from otter_agent.api import ImageInfo, ModuleSpec, Pruned
from otter_agent.runtimes.base import Artifact

BuildLog = Callable[[str], None]
"""Called with each line of output, as it appears; never blocks."""


class ImageStore(Protocol):
    """Makes artifacts. Errors: `ImageError` with the last lines of the failing step."""

    async def ensure(self, module: ModuleSpec, log: BuildLog) -> Artifact:
        """Find or make what `module` runs; concurrent calls for one content make it once."""
        ...

    async def list(self) -> list[ImageInfo]:
        """What this store made and still has (`used_by` left empty)."""
        ...

    async def prune(self, keep: frozenset[str], *, dry_run: bool = False) -> Pruned:
        """Remove what this store made and whose digest isn't in `keep`, with unused bases.

        With `dry_run` only say what that would be.
        """
        ...


@runtime_checkable
class Builds(Protocol):
    """Stores whose builds read packages that lie in the agent's folders."""

    def alone(self) -> AbstractAsyncContextManager[None]:
        """While no build is under way, and none begins."""
        ...


@runtime_checkable
class Remembers(Protocol):
    """Stores whose engine may be away, and what they made there with it."""

    def has_made(self) -> bool:
        """Whether it has ever made anything, or was sent it; the engine isn't asked."""
        ...
