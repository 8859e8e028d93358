"""An image store that has everything at once: for trying a topology without any engine."""

from __future__ import annotations

from otter_agent.api import ImageInfo, ModuleSpec, Pruned
from otter_agent.images.base import BuildLog
from otter_agent.runtimes.base import Artifact


class FakeImages:
    """Implements `ImageStore` in memory."""

    async def ensure(self, module: ModuleSpec, log: BuildLog) -> Artifact:
        """Answer at once with a name that is a function of what was asked."""
        if module.image or module.build:
            log(f"fake image for {module.name}")
        wanted = module.image or (module.build.context if module.build else "command")
        return Artifact(reference=f"fake/{wanted}", argv=("fake",), digest=wanted)

    async def list(self) -> list[ImageInfo]:
        """Nothing is kept."""
        return []

    async def prune(self, keep: frozenset[str], *, dry_run: bool = False) -> Pruned:
        """Nothing to remove."""
        return Pruned(removed=(), freed_bytes=0, dry_run=dry_run)
