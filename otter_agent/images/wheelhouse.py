"""Fetches Python packages as wheels, so that builds need no internet inside.

One folder per set of requirements, interpreter and platform, holding exactly the wheels that the
set needs; made in a temporary folder and renamed, under a lock, so it is there whole or not at
all. Packages come from wherever this machine's pip is configured to get them. Must not know:
images, environments, modules.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import platform
import re
import shutil
import sys
import sysconfig
import tempfile
import urllib.error
import urllib.request
from builtins import list as list_  # the class has a method of that name
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from otter_agent import api
from otter_agent.abilities import accelerators
from otter_agent.images.base import BuildLog
from otter_agent.images.kinds import CPU
from otter_agent.images.steps import Step, locked, run

TORCH_INDEX_VARIABLE = "OTTER_TORCH_INDEX"
"""Names another package index for torch; empty: none besides pip's own."""

TORCH_CPU_INDEX = "https://download.pytorch.org/whl/cpu"
"""Builds without CUDA, a tenth of the size. Source: pytorch.org, "Get started"."""

WHEELS = "wheels"
"""Kind of what is listed."""
_NAMED = 3
_IS_KEY = re.compile(r"[0-9a-f]{24}")
_PROBE_S = 4.0
_FORMAT = 1


def python_tag() -> str:
    """The interpreter and platform that wheels are chosen for: `cp311-linux-x86_64`."""
    version = f"cp{sys.version_info.major}{sys.version_info.minor}"
    return f"{version}-{sysconfig.get_platform()}"


def requirements_of(text: str) -> list[str]:
    """The lines of a requirements file, without comments and empty lines."""
    joined = text.replace("\\\n", " ")
    lines = (re.sub(r"(^|\s)#.*$", "", line).strip() for line in joined.splitlines())
    return [line for line in lines if line]


class Wheelhouse:
    """A folder of wheel sets.

    Args:
        folder: Where the sets are; made when needed.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    async def fetch(
        self,
        requirements: Sequence[str],
        *,
        python: str | None = None,
        no_deps: bool = False,
        base: Sequence[str] = (),
        accelerator: str | None = None,
        log: BuildLog,
    ) -> Path:
        """The folder with the wheels that `requirements` need.

        Source distributions are built into wheels here. Concurrent calls for one set, in this
        process or another, fetch it once.

        Args:
            requirements: As in a requirements file.
            python: Version they shall fit, `3.12`, on Linux of this architecture; None: this
                interpreter and platform.
            no_deps: Leave out what they depend on.
            base: Requirements that are already installed where these will be: the same versions
                are chosen, and their wheels left out.
            accelerator: What they are to run on, which may be another machine; None: on this one.
            log: Gets pip's output.

        Raises:
            ImageError: pip failed: its last lines are in `tail`.
        """
        given = None
        if base:
            given = await self.fetch(base, python=python, accelerator=accelerator, log=log)
        wanted = _Set(
            requirements=tuple(requirements),
            python=python if python not in (None, _own_version()) else None,
            no_deps=no_deps,
            index=torch_index(accelerator) if _wants_torch([*requirements, *base]) else "",
            given=given,
        )
        final = self.folder / wanted.key
        if final.is_dir():
            return final
        step = Step("pip", "fetch", wanted.title)
        with step.translating(self.folder):
            async with locked(self.folder / f"{wanted.key}.lock", waiting=log) as fd:
                if not final.is_dir():
                    await self._make(final, wanted, step, log, fd)
        return final

    def list(self) -> list_[api.CacheItem]:
        """The sets that are there. Blocking."""
        folders = sorted(self.folder.iterdir()) if self.folder.is_dir() else []
        return [_item(f) for f in folders if _IS_KEY.fullmatch(f.name) and f.is_dir()]

    def remove(self, key: str) -> None:
        """Remove a set, with what a killed agent left of it. While nothing is built. Blocking."""
        for left in self.folder.glob(f"{key}.tmp-*"):
            shutil.rmtree(left, ignore_errors=True)
        going = self.folder / f"{key}.tmp-going"
        if (self.folder / key).is_dir():
            (self.folder / key).rename(going)  # gone at once, however long its files take
            shutil.rmtree(going)
        (self.folder / f"{key}.lock").unlink(missing_ok=True)

    def remove_left(self) -> None:
        """Remove what killed agents left of any set. While nothing is built. Blocking."""
        for left in self.folder.glob("*.tmp-*"):
            shutil.rmtree(left, ignore_errors=True)

    async def _make(self, final: Path, wanted: _Set, step: Step, log: BuildLog, fd: int) -> None:
        for left in self.folder.glob(f"{final.name}.tmp-*"):
            await asyncio.to_thread(shutil.rmtree, left, ignore_errors=True)
        work = Path(tempfile.mkdtemp(prefix=f"{final.name}.tmp-", dir=self.folder))
        try:
            (work / "wheels").mkdir(mode=0o755)
            if wanted.requirements:
                await self._download(work, wanted, step, log, fd)
            if wanted.given is not None:
                for wheel in _wheels(wanted.given):
                    (work / "wheels" / wheel.name).unlink(missing_ok=True)
            (work / "wheels").rename(final)
        finally:
            await asyncio.to_thread(shutil.rmtree, work, ignore_errors=True)

    async def _download(self, work: Path, wanted: _Set, step: Step, log: BuildLog, fd: int) -> None:
        log(f"fetching wheels for {wanted.title}")
        argv = _pip(work, wanted)
        if wanted.index:
            reachable = await asyncio.to_thread(_answers, wanted.index, log)
            argv += ["--extra-index-url", wanted.index] if reachable else []
        # pip's own temporary files go to the same disk: they may hold gigabytes.
        await run(
            argv, step=step, log=log, env={"TMPDIR": str(work)}, cwd=work, lock_fd=fd,
            hint="is the package index reachable, and are the names and versions right?",
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Set:
    """What a folder of wheels is made from, and is named after."""

    requirements: tuple[str, ...]
    python: str | None
    no_deps: bool
    index: str
    given: Path | None

    @property
    def key(self) -> str:
        given = self.given.name if self.given else ""
        parts = [_FORMAT, python_tag(), sorted(self.requirements), self.python, self.no_deps,
                 self.index, given]  # fmt: skip
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:24]

    @property
    def title(self) -> str:
        what = ", ".join(self.requirements) or "no packages"
        return what if len(what) <= 80 else what[:77] + "..."


def torch_index(accelerator: str | None = None) -> str:
    """Where else to look for torch: the variable's, else the CPU builds if there is no GPU.

    Args:
        accelerator: What it is to run on; None: what this machine has.
    """
    named = os.environ.get(TORCH_INDEX_VARIABLE)
    if named is not None:
        return named
    if accelerator is None:
        accelerator = next(iter(accelerators()), CPU)
    return TORCH_CPU_INDEX if accelerator == CPU else ""


def _wants_torch(requirements: Sequence[str]) -> bool:
    return any(re.match(r"torch(vision|audio)?\b(?!-)", r.strip(), re.I) for r in requirements)


def _answers(index: str, log: BuildLog) -> bool:
    """Whether the index can be reached now; if not, pip would only retry it for every package."""
    request = urllib.request.Request(index.rstrip("/") + "/torch/")  # noqa: S310
    try:
        with urllib.request.urlopen(request, timeout=_PROBE_S):  # noqa: S310 - a configured URL
            return True
    except (OSError, ValueError) as exc:
        reason = exc.reason if isinstance(exc, urllib.error.URLError) else exc
        log(f"{index} can't be used ({reason}): torch comes from pip's own index")
        return False


def _pip(work: Path, wanted: _Set) -> list[str]:
    """The command that fills ./wheels, in `work`: short names make its output readable."""
    (work / "requirements.txt").write_text("\n".join(wanted.requirements) + "\n")
    common = ["--disable-pip-version-check", "--no-input", "--progress-bar", "off",
              "--requirement", "requirements.txt"]  # fmt: skip
    if wanted.no_deps:
        common.append("--no-deps")
    if wanted.given is not None:
        pins = "".join(f"{_pin(wheel)}\n" for wheel in _wheels(wanted.given))
        (work / "constraints.txt").write_text(pins)
        given = str(wanted.given.absolute())
        common += ["--constraint", "constraints.txt", "--find-links", given]
    pip = [sys.executable, "-m", "pip"]
    if wanted.python is None:
        return [*pip, "wheel", "--wheel-dir", "wheels", *common]
    tags = [f"--platform={tag}" for tag in _platforms(platform.machine())]
    return [*pip, "download", "--dest", "wheels", "--only-binary=:all:",
            "--implementation=cp", f"--python-version={wanted.python}", *tags, *common]  # fmt: skip


def _wheels(folder: Path) -> list_[Path]:
    return sorted(folder.glob("*.whl"))


def _item(folder: Path) -> api.CacheItem:
    """What people know a set by: its largest packages."""
    sizes = sorted(((f.stat().st_size, f) for f in _wheels(folder)), reverse=True)
    named = [_pin(file).replace("==", " ") for _, file in sizes]
    more = f" and {len(named) - _NAMED} more" if named[_NAMED:] else ""
    return api.CacheItem(
        name=f"{WHEELS}/{folder.name}", kind="wheels",
        title=", ".join(named[:_NAMED]) + more or "no packages",
        size_bytes=sum(size for size, _ in sizes), created=folder.stat().st_mtime,
    )  # fmt: skip


def _pin(wheel: Path) -> str:
    name, version, *_ = wheel.name.split("-")
    return f"{name}=={version}"


def _own_version() -> str:
    return f"{sys.version_info.major}.{sys.version_info.minor}"


def _platforms(arch: str) -> list[str]:
    """Platform tags that a glibc of 2.36 (Debian 12) accepts, newest first. Source: PEP 600."""
    tags = [f"manylinux_2_{minor}_{arch}" for minor in range(36, 4, -1)]
    return [*tags, f"manylinux2014_{arch}", f"manylinux1_{arch}", f"linux_{arch}"]
