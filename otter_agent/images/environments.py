"""The image store of the process runtime: virtual environments and prepared models, by content.

    base/KEY      layer: the requirements of a base
    layer/KEY     layer: a module's requirements.txt on top of a base
    net/KEY       this installation's `net`
    models/KEY    data/: what a module's prepare.py made
    env/DIGEST    module/ (its folder, read-only), venv/ (empty, links the layers), models/ (empty)

Must not know: Docker, meshes, how processes start.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import time
from builtins import list as list_  # the protocol has a method of that name
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from otter_agent.api import Build, ImageInfo, ModuleSpec, Pruned
from otter_agent.api import digest as sha256
from otter_agent.images import layers, prepared
from otter_agent.images.base import BuildLog
from otter_agent.images.bases import Base, base_of_processes
from otter_agent.images.shelf import Facts, Shelf
from otter_agent.images.steps import Step, run, to_end
from otter_agent.images.unpack import UnpackError, unpack
from otter_agent.images.wheelhouse import Wheelhouse, python_tag, requirements_of
from otter_agent.layout import Layout
from otter_agent.runtimes.base import Artifact

_FORMAT = 1
_KINDS = ("env", "models", "layer", "base", "net")
_SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class EnvironmentStore:
    """Makes environments for modules given as `build`; see `ImageStore`.

    Args:
        layout: The agent's folders.
        wheelhouse: Where packages come from; None: the one of `layout`.
        base: Finds a base by its name and what the module is made for.
    """

    def __init__(
        self,
        layout: Layout,
        wheelhouse: Wheelhouse | None = None,
        base: Callable[[str, str], Base] = base_of_processes,
    ) -> None:
        # What is in it holds absolute paths, of where a link to a larger disk leads.
        self._shelf = Shelf(layout.environments.resolve())
        self._blobs = layout.blobs
        self._wheelhouse = wheelhouse or Wheelhouse(layout.wheels)
        self._find_base = base

    async def ensure(self, module: ModuleSpec, log: BuildLog) -> Artifact:
        """Find or make what `module` runs; concurrent calls for one content make it once.

        Raises:
            ImageError: A step of the build failed, or the module can't run as a process.
        """
        if module.image is not None:
            raise _step(module.name, "run").failed(
                f"image {module.image!r} needs a container engine",
                hint='use runtime = "docker", or build = … or command = … for a process',
            )
        if module.build is None:
            return Artifact("", None)
        base = self._find_base(module.build.base, module.accelerator)
        net = await asyncio.to_thread(_net_key)
        name = f"env/{self._digest(module.build, base, net)}"
        async with self._shelf.using():
            facts = await asyncio.to_thread(self._shelf.facts, name)
            if facts is None:
                make = _Making(self._shelf, self._wheelhouse, module.name, base, log)
                facts = await make.environment(name, self._blobs / module.build.context, net)
        return self._artifact(name, facts, module)

    async def list(self) -> list_[ImageInfo]:
        """The environments that are whole; sizes include the layers and models they use."""
        return await asyncio.to_thread(self._list)

    async def prune(self, keep: frozenset[str], *, dry_run: bool = False) -> Pruned:
        """Remove environments whose digest isn't in `keep`, then what no environment uses.

        Waits for builds that are underway.
        """
        return await self._shelf.prune(
            _KINDS, lambda name: name.removeprefix("env/") in keep, dry_run=dry_run
        )

    @contextlib.asynccontextmanager
    async def alone(self) -> AsyncIterator[None]:
        """While no build is under way: see `Builds`."""
        async with self._shelf.alone():
            yield

    def _digest(self, build: Build, base: Base, net: str) -> str:
        # The root is in it because virtual environments hold absolute paths.
        return _key([_FORMAT, build.context, _base_key(base), net, str(self._shelf.root)])

    def _artifact(self, name: str, facts: Facts, module: ModuleSpec) -> Artifact:
        env = self._shelf.folder(name)
        if not facts["main"] and module.command is None:
            raise _step(module.name, "run").failed(
                "its folder has no module.py", hint="add one, or give the module a command"
            )
        used = [self._shelf.folder(other) for other in facts["uses"]]
        models = next((f / "data" for f in used if f.parent.name == "models"), env / "models")
        # Scripts of packages are there for commands; the module's own interpreter comes first.
        scripts = [str(f / "bin") for f in (env / "venv", *used) if (f / "bin").is_dir()]
        main = (str(layers.python_of(env / "venv")), str(env / "module" / "module.py"))
        return Artifact(
            reference=str(env),
            argv=main if facts["main"] else None,
            env={
                "OTTER_MODELS": str(models),
                "PATH": ":".join([*scripts, _SYSTEM_PATH]),
                "PYTHONUNBUFFERED": "1",
            },
            digest=env.name,
            readonly=(str(env), *map(str, used)),
        )

    def _list(self) -> list_[ImageInfo]:
        found = []
        for name in self._shelf.names("env"):
            facts = self._shelf.facts(name)
            if facts is None:
                continue
            parts = [facts, *(self._shelf.facts(other) or {} for other in facts["uses"])]
            found.append(
                ImageInfo(
                    reference=str(self._shelf.folder(name)),
                    kind="environment",
                    digest=name.removeprefix("env/"),
                    size_bytes=sum(part.get("size_bytes", 0) for part in parts),
                    created=facts["created"],
                )
            )
        return found


@dataclass(frozen=True, slots=True)
class _Making:
    """One environment underway, and what it is made from."""

    shelf: Shelf
    wheelhouse: Wheelhouse
    module: str
    base: Base
    log: BuildLog

    async def environment(self, name: str, blob: Path, net: str) -> Facts:
        env = self.shelf.folder(name)

        async def fill(fd: int) -> Facts:
            began = time.monotonic()
            await self._unpack(blob, env / "module")
            wanted = await asyncio.to_thread(_requirements, env / "module")
            used = [await self._packages(wanted)] if wanted else []
            used += [await self._base(), await self._net(net)]
            await to_end(_link, env, [_importable(self.shelf.folder(other)) for other in used])
            if (env / "module" / "prepare.py").is_file():
                used.append(await self._models(env, used))
            self.log(f"environment {env.name} is ready after {time.monotonic() - began:.1f} s")
            return {"uses": used, "main": (env / "module" / "module.py").is_file()}

        return await self._once(name, fill)

    async def _unpack(self, blob: Path, folder: Path) -> None:
        step = _step(self.module, "unpack its folder")
        if not await asyncio.to_thread(blob.is_file):
            raise step.failed("the folder was not uploaded", hint="apply the topology again")
        try:
            await to_end(unpack, blob, folder)
        except UnpackError as exc:
            raise step.failed(str(exc)) from exc

    async def _base(self) -> str:
        name = f"base/{_base_key(self.base)}"

        async def fill(fd: int) -> Facts:
            self.log(f"making the base {self.base.name!r}, once for all modules on it")
            wheels = await self.wheelhouse.fetch(self.base.requirements, log=self.log)
            await self._install(self.shelf.folder(name), wheels, fd)
            return {"title": self.base.name}

        await self._once(name, fill)
        return name

    async def _packages(self, wanted: Sequence[str]) -> str:
        name = f"layer/{_key([_base_key(self.base), sorted(wanted)])}"

        async def fill(fd: int) -> Facts:
            wheels = await self.wheelhouse.fetch(wanted, base=self.base.requirements, log=self.log)
            await self._install(self.shelf.folder(name), wheels, fd)
            return {"title": ", ".join(wanted)}

        await self._once(name, fill)
        return name

    async def _install(self, folder: Path, wheels: Path, fd: int) -> None:
        await to_end(layers.make_venv, folder)
        files = await asyncio.to_thread(layers.wheels_in, wheels)
        if not files:
            return
        self.log(f"installing {', '.join(f.name.split('-')[0] for f in files)}")
        step = _step(self.module, "install its packages")
        # Everything is at hand: what pip is configured to do elsewhere must not matter.
        isolated = {"PIP_CONFIG_FILE": os.devnull}
        install = layers.install_command(folder, files)
        await run(install, step=step, log=self.log, env=isolated, lock_fd=fd)
        await run(layers.compile_command(folder), step=step, log=self.log, lock_fd=fd)

    async def _net(self, key: str) -> str:
        name = f"net/{key}"

        async def fill(fd: int) -> Facts:
            await to_end(layers.copy_net, self.shelf.folder(name))
            return {"title": "net"}

        await self._once(name, fill)
        return name

    async def _models(self, env: Path, used: Sequence[str]) -> str:
        source = env / "module"
        files = await asyncio.to_thread(_prepare_files, source)
        content = await asyncio.to_thread(layers.tree_digest, source, files)
        packages = [other for other in used if not other.startswith("net/")]
        name = f"models/{_key([_FORMAT, packages, content])}"
        folder = self.shelf.folder(name)

        async def fill(fd: int) -> Facts:
            wanted = await asyncio.to_thread(_requirements, source, "requirements-prepare.txt")
            wheels = await self.wheelhouse.fetch(wanted, no_deps=True, log=self.log)
            work = folder / "work"
            await to_end(_copy_files, source, files, work)
            await to_end((folder / "data").mkdir)
            self.log("preparing its models (prepare.py)")
            await run(
                [str(layers.python_of(env / "venv")), str(work / "prepare.py")],
                step=_step(self.module, "prepare its models"),
                log=self.log,
                cwd=work,
                env=_prepare_variables(work, folder / "data", wheels),
                lock_fd=fd,
            )
            await to_end(shutil.rmtree, work)
            return {"title": f"models of {self.module}"}

        await self._once(name, fill)
        return name

    async def _once(self, name: str, fill: Callable[[int], Awaitable[Facts]]) -> Facts:
        return await self.shelf.once(name, fill, _step(self.module, "build"), self.log)


def _step(module: str, op: str) -> Step:
    return Step("environments", op, module)


def _key(parts: Sequence[object]) -> str:
    return sha256(json.dumps(parts).encode())[:32]


def _base_key(base: Base) -> str:
    return _key([_FORMAT, python_tag(), sorted(base.requirements)])


def _net_key() -> str:
    return layers.tree_digest(*layers.own_net())[:32]


def _importable(folder: Path) -> Path:
    return folder if folder.parent.name == "net" else layers.packages_of(folder)


def _link(env: Path, packages: Sequence[Path]) -> None:
    layers.make_venv(env / "venv")
    layers.link_layers(env / "venv", packages)
    (env / "models").mkdir()


def _requirements(module: Path, name: str = "requirements.txt") -> list[str]:
    file = module / name
    return requirements_of(file.read_text(errors="replace")) if file.is_file() else []


def _prepare_files(module: Path) -> list[Path]:
    found = (f for f in module.rglob("*") if f.is_file())
    left_out = prepared.unseen(module)
    return [f for f in found if str(f.relative_to(module)) not in left_out]


def _prepare_variables(work: Path, models: Path, wheels: Path) -> dict[str, str]:
    return {
        "OTTER_MODELS": str(models),
        "OTTER_WHEELS": str(wheels),
        "HOME": str(work),  # caches of model hubs go there, and away with it
        "TMPDIR": str(work),
        "PYTHONUNBUFFERED": "1",
    }


def _copy_files(root: Path, files: Sequence[Path], target: Path) -> None:
    for file in files:
        copy = target / file.relative_to(root)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, copy)
