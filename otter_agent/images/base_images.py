"""The chain of images below every module image: root, packages of a base, the base itself.

    root       python:3.11-slim-bookworm, present or pulled; else otter/root, made by debootstrap
    packages   otter/packages-NAME:KEY   a virtual environment with the base's requirements
    base       otter/base-NAME:KEY       and this agent's own `net`, one small layer

Each is made once and shared by all modules on it. Must not know: modules.
"""

from __future__ import annotations

import asyncio
import io
import json
import tarfile
from collections.abc import Mapping
from pathlib import Path

from otter_agent.api import digest as sha256
from otter_agent.errors import ImageError
from otter_agent.images import layers, rootfs
from otter_agent.images.base import BuildLog
from otter_agent.images.bases import Base
from otter_agent.images.builder import Builder
from otter_agent.images.kinds import CPU
from otter_agent.images.labels import AGENT, BASE, KIND
from otter_agent.images.locks import Locks
from otter_agent.images.steps import Step
from otter_agent.images.wheelhouse import Wheelhouse

VENV = "/opt/otter/venv"
_FORMAT = 1
_MOUNT = "/mnt"
_DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_INSTALL = f"""\
python3 -m venv {VENV}
set -- {_MOUNT}/*.whl
if [ -e "$1" ]; then
  {VENV}/bin/python -m pip install --no-index --no-deps --no-cache-dir --no-input \\
    --disable-pip-version-check --root-user-action=ignore --progress-bar off --no-compile "$@"
  {VENV}/bin/python -m compileall -q -j 0 {VENV}/lib || true
fi
"""


class BaseImages:
    """Finds or makes base images.

    Args:
        builder: How images are made.
        wheelhouse: Where packages come from.
        folder: For temporary files.
    """

    def __init__(self, builder: Builder, wheelhouse: Wheelhouse, folder: Path) -> None:
        self._builder = builder
        self._wheelhouse = wheelhouse
        self._folder = folder
        self._locks = Locks()

    async def key(self, base: Base) -> str:
        """Names the content of a base: what it is made from, and the architecture."""
        net = await asyncio.to_thread(net_key)
        return key_of([await self._packages_key(base), net])

    async def ensure(self, base: Base, log: BuildLog) -> str:
        """The tag of the base image, made if need be.

        Raises:
            ImageError: It could not be made.
        """
        tag = f"otter/base-{base.name}:{await self.key(base)}"
        async with self._locks.hold(tag):
            if await self._builder.inspect(tag):
                return tag
            packages = await self._packages(base, log)
            log(f"making the base image {tag}")
            site = f"{VENV}/lib/python{base.python}/site-packages"
            await self._builder.run_and_commit(
                packages, tag, f"{VENV}/bin/python -m compileall -q {site}/net",
                step=_step("make the base", base), log=log, changes=(),
                labels=self._labels("base", packages),
                archive=(site, await asyncio.to_thread(_net_tar)),
            )  # fmt: skip
        return tag

    async def _packages(self, base: Base, log: BuildLog) -> str:
        tag = f"otter/packages-{base.name}:{await self._packages_key(base)}"
        async with self._locks.hold(tag):
            if await self._builder.inspect(tag):
                return tag
            root = await self._root(base, log)
            wheels = await self._wheelhouse.fetch(
                base.requirements, python=base.python, accelerator=base.accelerator, log=log
            )
            log(f"making {tag}: {', '.join(base.requirements)}; once for all modules on it")
            found = await self._builder.inspect(root)
            env = dict(e.split("=", 1) for e in ((found or {})["Config"].get("Env") or ()))
            await self._builder.run_and_commit(
                root, tag, _INSTALL, step=_step("install the packages of", base), log=log,
                changes=(f"ENV PATH={VENV}/bin:{env.get('PATH', _DEFAULT_PATH)}",
                         *(f"ENV {name}={value}" for name, value in base.env.items()),
                         "WORKDIR /work", 'CMD ["python"]'),
                labels=self._labels("packages", root), mounts={_MOUNT: wheels},
            )  # fmt: skip
        return tag

    async def _root(self, base: Base, log: BuildLog) -> str:
        own = f"otter/root:{rootfs.SUITE}-python{rootfs.PYTHON}"
        async with self._locks.hold(base.root):
            for there in (base.root, own):
                if await self._builder.inspect(there):
                    return there
            step = Step("docker", "pull", base.root)
            try:
                log(f"pulling {base.root}")
                await self._builder.pull(base.root, step=step, log=log)
            except ImageError as error:
                if base.python != rootfs.PYTHON:
                    raise
                log(f"{error.why}: making a root image with debootstrap instead, once")
                await self._make_root(own, log)
                return own
            return base.root

    async def _make_root(self, tag: str, log: BuildLog) -> None:
        tar = self._folder / "root.tar"
        try:
            await rootfs.make_root_tar(tar, log)
            await self._builder.import_root(tar, tag, labels=self._labels("root", ""))
        finally:
            tar.unlink(missing_ok=True)

    async def _packages_key(self, base: Base) -> str:
        arch = (await self._builder.engine.info())["Architecture"]
        parts = [_FORMAT, _INSTALL, base.root, base.python, sorted(base.requirements), arch]
        if not base.kind.startswith(CPU):
            parts += [base.kind, sorted(base.env.items())]
        return key_of(parts)

    def _labels(self, kind: str, base: str) -> Mapping[str, str]:
        return {KIND: kind, AGENT: self._builder.agent_id, BASE: base}


def key_of(parts: list[object]) -> str:
    """A short hash of JSON-able parts."""
    return sha256(json.dumps(parts).encode())[:16]


def net_key() -> str:
    """Names the content of this installation's `net`."""
    return layers.tree_digest(*layers.own_net())[:16]


def _net_tar() -> bytes:
    root, files = layers.own_net()
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for file in sorted(files):
            entry = tarfile.TarInfo(f"net/{file.relative_to(root)}")
            data = file.read_bytes()
            entry.size, entry.mode = len(data), 0o644
            archive.addfile(entry, io.BytesIO(data))
    return buffer.getvalue()


def _step(op: str, base: Base) -> Step:
    return Step("docker", op, f"base {base.name}")
