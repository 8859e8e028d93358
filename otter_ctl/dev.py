"""Working on one module of a mesh that runs: its folder is watched, a save replaces the module.

    save ─► tar of the folder ─► PUT …/source ─► the agent replaces that module's instance, only it
    requirements, Dockerfile, … changed ─► the same with another build, as an apply does

What the module was is put back at the end. Prints nothing. Must not know: the CLI, the terminal.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec

from otter_agent import api
from otter_ctl.errors import PlanError, RemoteError, UnknownNameError
from otter_ctl.meshes import Meshes
from otter_ctl.planning import dockerfile
from otter_ctl.planning.uploads import context

ALWAYS_BUILT = frozenset(
    {"requirements.txt", "requirements-prepare.txt", "prepare.py", "Dockerfile", ".dockerignore"}
)
"""Files that go into a build: a change of them is seen only after one."""
QUIET_MS = 50
"""A save is over when nothing was written for this long: editors write in several steps."""
LONGEST_MS = 1000
_LOOK_MS = 250
"""How often the watcher says that there is nothing; the first time, it is there."""
UNDER_WAY = frozenset({"pending", "starting", "restarting"})
ARRIVED = frozenset({"running", "ready", "done", "failed", "stopped"})


@dataclass(frozen=True, slots=True)
class Folder:
    """A module folder at one moment.

    Attributes:
        digest: SHA-256 of `data`.
        data: Its tar, as a build gets it.
        built: Digest of the files that are seen only after a build.
        target: Where it can be shown; "": OTTER's own place; None: nowhere, each change is built.
    """

    digest: str
    data: bytes
    built: str
    target: str | None

    @classmethod
    def of(cls, path: Path, runtime: str, target: str | None) -> Folder:
        """Read it.

        Args:
            path: The folder.
            runtime: Of the module.
            target: Where to show it, if that was said.

        Raises:
            PlanError: It holds what can't be built from.
            OSError: It can't be read.
        """
        data = context(path)
        place = _placed(path, runtime)
        built = _fingerprint(path, ALWAYS_BUILT | place.built)
        return cls(hashlib.sha256(data).hexdigest(), data, built, target or place.target)


def _placed(path: Path, runtime: str) -> dockerfile.Placed:
    own = path / "Dockerfile"
    if runtime != "docker" or not own.is_file():
        return dockerfile.Placed("")
    return dockerfile.read(own.read_text(encoding="utf-8", errors="replace"))


def _fingerprint(path: Path, names: Iterable[str]) -> str:
    digest = hashlib.sha256()
    for name in sorted(names):
        file = path / name
        if file.is_file():
            digest.update(name.encode() + b"\0" + hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()


class Development:
    """Work on one module.

    Args:
        client: The agent.
        mesh: Its mesh.
        module: Its name.
        path: Its folder.
        target: Where in it the folder is to be shown; None: as its Dockerfile says.

    Attributes:
        original: What was asked for before.
        now: What is asked for now.
    """

    def __init__(
        self, client: Meshes, mesh: str, module: str, path: Path, target: str | None = None
    ) -> None:
        self._client, self._mesh, self._module = client, mesh, module
        self._path, self._target = path, target
        self._runtime = ""
        self._known: Folder | None = None
        self.original: api.Sources | None = None
        self.now: api.Sources | None = None

    async def begin(self) -> bool:
        """Learn what the module is. Returns whether its folder has changed since it was applied.

        Raises:
            UnknownNameError: There is no such module.
            PlanError: There is nothing of it to work on.
            RemoteError: Somebody else works on it.
        """
        spec = await self._spec()
        if spec.build is None and self._target is None:
            raise PlanError(
                f"module {self._module}",
                "has no build folder, so a save can't be shown in it",
                hint="say where in it the folder is: --target /DIR",
            )
        if spec.source is not None:
            raise RemoteError(
                self._client.machine,
                f"module {self._module} is being worked on already (otterctl dev)",
                hint="if nobody does: `otterctl apply` puts it back",
            )
        self._runtime = spec.runtime
        self.original = self.now = api.Sources.of(spec)
        self._known = await self._read()
        return spec.build is not None and spec.build.context != self._known.digest

    async def _spec(self) -> api.ModuleSpec:
        status = await self._client.mesh(self._mesh)
        for module in status.spec.modules:
            if module.name == self._module:
                return module
        known = ", ".join(m.name for m in status.spec.modules)
        where = f"module {self._module}"
        raise UnknownNameError(where, f"not in mesh {self._mesh}", hint=f"there are: {known}")

    async def _read(self) -> Folder:
        return await asyncio.to_thread(Folder.of, self._path, self._runtime, self._target)

    async def saves(self, stop: asyncio.Event) -> AsyncIterator[list[Path]]:
        """First nothing: from then on no save is missed. Then the files of each, until `stop`."""
        from watchfiles import awatch

        def counts(_: object, path: str) -> bool:
            parts = Path(path).relative_to(self._path).parts
            return not {"__pycache__", ".git"}.intersection(parts)

        found = awatch(
            self._path, watch_filter=counts, step=QUIET_MS, debounce=LONGEST_MS, stop_event=stop,
            rust_timeout=_LOOK_MS, yield_on_timeout=True,
        )  # fmt: skip
        listening = False
        async for changes in found:
            if not listening:  # it was watched at least since the call that has just returned
                listening = True
                yield []
            if changes:
                yield sorted({Path(path) for _, path in changes})

    async def take(self, *, build: bool = False) -> str:
        """Bring the folder as it is now into the module.

        Args:
            build: Build it, whatever has changed.

        Returns:
            `unchanged`, `shown` (the folder is shown in the module), or `built` (it is built as an
            apply would).

        Raises:
            AgentFault: `changed`: somebody else changed the module meanwhile.
        """
        assert self._known is not None
        assert self.now is not None
        folder = await self._read()
        if folder.digest == self._known.digest and not build:
            return "unchanged"
        build = build or folder.built != self._known.built or folder.target is None
        build = build and self.now.build is not None
        after = self._built(folder) if build else self._shown(folder)
        await self._put(after, {folder.digest: lambda: folder.data})
        self._known = folder
        return "built" if build else "shown"

    def _built(self, folder: Folder) -> api.Sources:
        assert self.now is not None
        assert self.now.build is not None
        build = msgspec.structs.replace(self.now.build, context=folder.digest)
        return api.Sources(build=build, source=None, restart="no")

    def _shown(self, folder: Folder) -> api.Sources:
        """Not tried again by itself: the next save is the next try."""
        assert self.now is not None
        source = api.Source(blob=folder.digest, target=folder.target or "")
        return api.Sources(build=self.now.build, source=source, restart="no")

    async def _put(self, after: api.Sources, uploads: Mapping[str, Callable[[], bytes]]) -> None:
        assert self.now is not None
        change = api.SourceChange(before=self.now, after=after)
        await self._client.put_source(self._mesh, self._module, change, uploads)
        self.now = after

    async def put_back(self) -> bool:
        """Ask for what the module was before; False: it is that already.

        Raises:
            AgentFault: `changed`: somebody else changed the module, which stays so.
        """
        if self.original is None or self.now == self.original:
            return False
        await self._put(self.original, {})
        return True

    async def differs(self) -> bool:
        """Whether the folder isn't what the module was built from."""
        build = self.original.build if self.original else None
        return build is not None and (await self._read()).digest != build.context


def newest(paths: Iterable[Path]) -> float | None:
    """When the last of these files was written; None: they are gone."""
    times = []
    for path in paths:
        try:
            times.append(os.stat(path).st_mtime)
        except OSError:
            continue
    return max(times, default=None)
