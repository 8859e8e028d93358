"""The wheels that an agent on a machine needs, fetched here: the machine needs no package index.

Kept in the user's cache by interpreter and architecture, so the second machine takes no time.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from otter_ctl.errors import RemoteError
from otter_ctl.machine.facts import Facts, Python
from otter_ctl.machine.wheel import requirements

_ARCH = re.compile(r"[A-Za-z0-9_]{1,40}")
_GLIBC_NEWEST = 40
_NEEDED = ("pip>=23",)
"""Besides the agent's own requirements: what installs them."""


def cache_folder() -> Path:
    """Where the user's caches of OTTER are."""
    base = os.environ.get("OTTER_CACHE")
    return Path(base) if base else Path("~/.cache/otter").expanduser()


def tags(facts: Facts, python: Python) -> tuple[str, list[str]]:
    """Pip's words for a machine: its Python's version, and the platforms whose wheels run there."""
    version = f"{python.version[0]}.{python.version[1]}"
    kind, _, number = facts.libc.partition(" ")
    major, _, minor = number.partition(".")
    if kind != "glibc" or major != "2" or not minor.isdecimal():
        return version, [f"musllinux_1_{n}_{facts.arch}" for n in (2, 1)]
    newest = min(int(minor), _GLIBC_NEWEST)
    platforms = [f"manylinux_2_{n}_{facts.arch}" for n in range(newest, 16, -1)]
    return version, [*platforms, f"manylinux2014_{facts.arch}", f"linux_{facts.arch}"]


def fetch(machine: str, facts: Facts, python: Python) -> list[Path]:
    """The wheels, pip's own first.

    Raises:
        RemoteError: They can't be had.
    """
    if not _ARCH.fullmatch(facts.arch):  # it becomes a folder's name
        raise RemoteError(machine, f"no packages are made for processors of kind {facts.arch!r}")
    version, platforms = tags(facts, python)
    wanted = [*_NEEDED, *requirements("agent")]
    folder = cache_folder() / "wheels" / f"cp{version.replace('.', '')}-{platforms[0]}"
    key = "\n".join(wanted)
    if not _complete(folder, key):
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent, ignore_cleanup_errors=True) as beside:
            fresh = Path(beside) / "wheels"
            _download(machine, fresh, version, platforms, wanted)
            (fresh / "complete").write_text(key, encoding="utf-8")
            _replace(folder, fresh, key)
    return sorted(folder.glob("*.whl"), key=lambda path: (not path.name.startswith("pip-"), path))


def _complete(folder: Path, key: str) -> bool:
    try:
        return (folder / "complete").read_text(encoding="utf-8") == key
    except OSError:
        return False


def _replace(folder: Path, fresh: Path, key: str) -> None:
    """Whoever else fetches the same at the same time: the first one's stays."""
    if folder.exists() and not _complete(folder, key):
        shutil.rmtree(folder)
    try:
        fresh.rename(folder)
    except OSError:
        if not _complete(folder, key):
            raise


def _download(
    machine: str, folder: Path, version: str, platforms: list[str], wanted: list[str]
) -> None:
    argv = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"]
    argv += ["--only-binary=:all:", "--implementation", "cp", "--python-version", version]
    argv += [word for platform in platforms for word in ("--platform", platform)]
    argv += ["--dest", str(folder), *wanted]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    if done.returncode:
        said = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
        why = said[0].removeprefix("ERROR: ") if said else f"pip ended with {done.returncode}"
        hint = "is a package index within reach of this computer?"
        raise RemoteError(machine, f"its packages can't be fetched: {why}", hint=hint)
