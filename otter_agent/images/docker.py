"""The image store of the docker runtime: images pulled, and images built from module folders.

    otter/module:DIGEST    named by what it is made from: folder, base, `net`, architecture

One content is one image, however many modules run it. Containers have no way out while they are
built but the engine's own; packages enter as wheels. Must not know: meshes, how containers start.
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import tempfile
from builtins import list as list_  # the protocol has a method of that name
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from otter_agent.abilities import can_emulate
from otter_agent.api import Build, ImageInfo, ImageLook, ModuleSpec, Pruned, PrunedItem
from otter_agent.engine import Engine, EngineError, filters, translated
from otter_agent.errors import ImageError
from otter_agent.flights import Flights
from otter_agent.images import context
from otter_agent.images.base import BuildLog
from otter_agent.images.base_images import BaseImages, key_of
from otter_agent.images.bases import Base, find_base
from otter_agent.images.builder import Builder
from otter_agent.images.context import Needs
from otter_agent.images.kinds import CPU, image_arch, kind_of
from otter_agent.images.labels import ACCELERATOR, AGENT, BASE, DIGEST, KIND
from otter_agent.images.locks import Locks
from otter_agent.images.runnable import check_runnable
from otter_agent.images.sending.transfers import Transfers
from otter_agent.images.steps import Step, to_end
from otter_agent.images.unpack import UnpackError, unpack
from otter_agent.images.unused import Image, own_bytes, tags_of, unused
from otter_agent.images.wheelhouse import Wheelhouse
from otter_agent.layout import Layout
from otter_agent.runtimes.base import Artifact

_FORMAT = 1
_PARALLEL_BUILDS = 2
_TAG = "otter/module"


class DockerImages:
    """Implements `ImageStore` with a Docker engine.

    Args:
        docker_url: `unix:///…` of an engine on this machine.
        layout: Where uploads are.
        wheelhouse: Where packages come from.
        agent_id: Whose images these are: a label on each.

    Attributes:
        transfers: Sends them to other machines, and takes theirs.
    """

    def __init__(
        self, docker_url: str, layout: Layout, wheelhouse: Wheelhouse, agent_id: str
    ) -> None:
        self.engine = Engine(docker_url)
        self._agent_id = agent_id
        self._blobs = layout.blobs
        self._folder = layout.lib / "builds"
        self._wheelhouse = wheelhouse
        self._builder = Builder(self.engine, agent_id)
        self.transfers = Transfers(self._builder, layout)
        self._bases = BaseImages(self._builder, wheelhouse, self._folder)
        self._locks = Locks()
        self._pulls: Flights[dict[str, Any]] = Flights()
        self._looks: Flights[dict[str, Any] | None] = Flights()
        self._building = asyncio.Semaphore(_PARALLEL_BUILDS)
        self._swept = False

    async def aclose(self) -> None:
        """Close the connections to the engine."""
        await self.engine.aclose()

    async def ensure(self, module: ModuleSpec, log: BuildLog) -> Artifact:
        """See `ImageStore`."""
        with translated(ImageError, "make the image", module.name):
            if module.build is not None:
                return await self._built(module, module.build, log)
            if module.image is not None:
                return await self._pulled(module, module.image, log)
        raise Step("docker", "run", module.name).failed(
            "it names neither an image nor a folder to build",
            hint='give it image = … or build = …, or runtime = "process"',
        )

    async def look(self, module: ModuleSpec) -> ImageLook:
        """What the image of a module is called here, and whether it is there. Makes nothing."""
        with translated(ImageError, "look for the image of", module.name):
            if module.build is not None:
                name, _ = await self._name(module, module.build)
            else:
                name = full_name(module.image or "")
            found = await self._builder.inspect(name)
        size = int(found["Size"]) if found else 0
        return ImageLook(
            module=module.name, reference=name, kind=kind_of("", module.accelerator),
            present=found is not None, size_bytes=size,
        )  # fmt: skip

    async def misfit(self, module: ModuleSpec) -> str:
        """Why the image of a module is none for this machine; "" if it may be. Makes nothing.

        Raises:
            ImageError: Its base is none for this machine.
        """
        if module.build is not None:
            find_base(module.build.base, kind_of("", module.accelerator))
            return ""
        with translated(ImageError, "look for the image of", module.name):
            found = await self._builder.inspect(full_name(module.image or ""))
        arch = (found or {}).get("Architecture") or image_arch()
        if arch == image_arch() or can_emulate(arch):
            return ""
        return f"image {module.image} is for {arch}, this machine is {image_arch()}"

    async def list(self) -> list_[ImageInfo]:
        """See `ImageStore`. Sizes count what images share in each of them."""
        with translated(ImageError, "list", "images"):
            return [_info(image) for image in await self._own("module", "base")]

    def has_made(self) -> bool:
        """See `Remembers`: the folder of builds stays."""
        return self._folder.exists() or bool(self.transfers.received.names())

    async def prune(self, keep: frozenset[str], *, dry_run: bool = False) -> Pruned:
        """See `ImageStore`. An image that a container uses stays."""
        with translated(ImageError, "prune", "images"):
            async with self.alone():
                return await self._prune(keep, dry_run)

    async def _prune(self, keep: frozenset[str], dry_run: bool) -> Pruned:
        everyone = await self.engine.json("GET", "/images/json")
        containers = await self.engine.json("GET", "/containers/json", params={"all": "1"})
        images = await self._own("module", "base", "packages", "root")
        before = await self._used_bytes()
        items = []
        for image in unused(images, keep, {c["ImageID"] for c in containers}):
            tags = tags_of(image) if dry_run else await self._remove(image)
            size, kind = own_bytes(image, everyone), image["Labels"][KIND]
            items += [PrunedItem(reference=tag, kind=kind, size_bytes=size) for tag in tags]
        items += self.transfers.prune(dry_run=dry_run)
        freed = sum(item.size_bytes for item in items)
        if not dry_run:
            mine = filters(dangling=["true"], label=[f"{AGENT}={self._agent_id}"])
            await self.engine.json("POST", "/images/prune", params=mine)
            freed = max(0, before - await self._used_bytes())
        return Pruned(
            removed=tuple(item.reference for item in items), freed_bytes=freed,
            items=tuple(items), dry_run=dry_run,
        )  # fmt: skip

    # --- image = ----------------------------------------------------------------------------

    async def _pulled(self, module: ModuleSpec, reference: str, log: BuildLog) -> Artifact:
        found = await self._pulls.join(reference, lambda: self._pull(reference, log))
        check_runnable(found, reference, module, log)
        return Artifact(reference=found["Id"], digest=found["Id"].removeprefix("sha256:"))

    async def _pull(self, reference: str, log: BuildLog) -> dict[str, Any]:
        found = await self._builder.inspect(reference)
        if found is None:
            log(f"pulling {reference}")
            await self._builder.pull(reference, step=_step("pull", reference), log=log)
            found = await self._builder.inspect(reference)
        if found is None:
            raise _step("pull", reference).failed("it is not there after the pull")
        return found

    # --- build = ----------------------------------------------------------------------------

    async def _built(self, module: ModuleSpec, build: Build, log: BuildLog) -> Artifact:
        tag, digest = await self._name(module, build)
        async with self._locks.hold(tag):
            found = await self._builder.inspect(tag)
            if found is None:
                await self._sweep()
                async with self._building:
                    await self._build(module, build, tag, digest, log)
                found = await self._builder.inspect(tag)
        if found is not None:
            check_runnable(found, module.name, module, log)
        return Artifact(reference=tag, digest=digest)

    async def _name(self, module: ModuleSpec, build: Build) -> tuple[str, str]:
        """What a build's image is called, and the content that it is named by."""
        base = _base(module, build)
        default = await asyncio.to_thread(context.DEFAULT_DOCKERFILE.read_text)
        digest = key_of([_FORMAT, build.context, await self._bases.key(base), default])
        return f"{_TAG}:{digest}", digest

    async def _build(
        self, module: ModuleSpec, build: Build, tag: str, digest: str, log: BuildLog
    ) -> None:
        base = _base(module, build)
        step = _step("build", module.name)
        with step.translating(self._folder):
            self._folder.mkdir(parents=True, exist_ok=True)
            work = Path(tempfile.mkdtemp(prefix="build-", dir=self._folder))
            try:
                folder = work / "folder"
                await self._unpack(module.name, build.context, folder)
                needs = context.Needs.of(folder)
                if needs.wheels:
                    await self._add_wheels(folder, base, needs, log)
                base_tag = await self._bases.ensure(base, log) if needs.base else ""
                await to_end(context.pack, folder, work / "context.tar")
                log(f"building {tag} on {base_tag}" if base_tag else f"building {tag}")
                await self._builder.build(
                    work / "context.tar", tag, step=step, log=log,
                    args={"OTTER_BASE": base_tag} if base_tag else {},
                    labels={
                        KIND: "module", AGENT: self._agent_id, DIGEST: digest, BASE: base_tag,
                        **({} if module.accelerator == CPU else {ACCELERATOR: module.accelerator}),
                    },
                )  # fmt: skip
            finally:
                await to_end(shutil.rmtree, work, True)

    async def _add_wheels(self, folder: Path, base: Base, needs: Needs, log: BuildLog) -> None:
        wheels = await self._wheelhouse.fetch(
            context.wanted(folder, "requirements.txt"),
            base=base.requirements if needs.base else (), python=base.python,
            accelerator=base.accelerator, log=log,
        )  # fmt: skip
        prepare = await self._wheelhouse.fetch(
            context.wanted(folder, "requirements-prepare.txt"),
            no_deps=True, python=base.python, accelerator=base.accelerator, log=log,
        )  # fmt: skip
        await to_end(context.complete, folder, wheels, prepare)

    async def _unpack(self, module: str, blob: str, folder: Path) -> None:
        step = _step("unpack the folder of", module)
        tar = self._blobs / blob
        if not await asyncio.to_thread(tar.is_file):
            raise step.failed("the folder was not uploaded", hint="apply the topology again")
        try:
            await to_end(unpack, tar, folder)
        except UnpackError as exc:
            raise step.failed(str(exc)) from exc

    async def _sweep(self) -> None:
        """Once: containers and folders that builds of a killed agent left."""
        async with self._locks.hold("sweep"):
            if not self._swept:
                await self._builder.sweep()
                await to_end(shutil.rmtree, self._folder, True)
            self._swept = True

    # --- what is there ----------------------------------------------------------------------

    async def _own(self, *kinds: str) -> list_[dict[str, Any]]:
        """What this agent made, or was sent."""
        images = await self.engine.json("GET", "/images/json", params=filters(label=[KIND]))
        sent = self.transfers.received.names()
        return [
            image
            for image in images
            if image["Labels"][KIND] in kinds
            and (tags := tags_of(image))
            and (image["Labels"].get(AGENT) == self._agent_id or sent.intersection(tags))
        ]

    @contextlib.asynccontextmanager
    async def alone(self) -> AsyncIterator[None]:
        """While no build is under way: its stages have no name yet and would look unused."""
        async with self._locks.hold("alone"), contextlib.AsyncExitStack() as stack:
            for _ in range(_PARALLEL_BUILDS):
                await stack.enter_async_context(self._building)
            yield

    async def _remove(self, image: Image) -> list_[str]:
        """Remove an image by all its names; those that went."""
        gone = []
        for tag in tags_of(image):
            try:
                await self.engine.json("DELETE", f"/images/{tag}")
            except EngineError as exc:
                if exc.status not in (404, 409):
                    raise
            else:
                gone.append(tag)
        return gone

    async def _used_bytes(self) -> int:
        return int((await self.engine.json("GET", "/system/df"))["LayersSize"])


def _info(image: dict[str, Any]) -> ImageInfo:
    return ImageInfo(
        reference=tags_of(image)[0],
        kind="image",
        digest=image["Labels"].get(DIGEST, image["Id"].removeprefix("sha256:")),
        size_bytes=image["Size"],
        created=float(image["Created"]),
    )


def _base(module: ModuleSpec, build: Build) -> Base:
    return find_base(build.base, kind_of("", module.accelerator))


def full_name(reference: str) -> str:
    """With its tag, as engines list images."""
    last = reference.rpartition("/")[2]
    return reference if ":" in last or "@" in last else f"{reference}:latest"


def _step(op: str, target: str) -> Step:
    return Step("docker", op, target)
