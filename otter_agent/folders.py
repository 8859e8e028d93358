"""The folders of a module: made before it starts, read when its results are fetched.

What lies in `work` and `state` was written by the module and is hostile input: nothing here
follows a symbolic link in them.
"""

from __future__ import annotations

import os
import shutil
import stat
import tarfile
from collections.abc import Iterable, Iterator
from fnmatch import fnmatchcase
from pathlib import Path

from otter_agent import api
from otter_agent.errors import AgentError
from otter_agent.layout import Layout, ModulePaths

_LOCALHOST = "127.0.0.1 localhost\n"
MAX_RECORDS_BYTES = 64 << 20
"""What is fetched of a module's message records at most; the SDK stops there as well."""


def make(layout: Layout, mesh: str, module: str, names: dict[str, str]) -> None:
    """Make a module's folders and bring its hosts file up to date, in place.

    In place because the file is bind-mounted: a rename would leave the module with the old one.
    """
    paths = layout.module(mesh, module)
    for folder in (paths.work, paths.wiring, paths.state):
        folder.mkdir(parents=True, exist_ok=True)
    for folder in (paths.work, paths.state):
        folder.chmod(0o777)  # an image's own user must be able to write; the parent is ours alone
    layout.meshes.chmod(0o711)
    text = _LOCALHOST + "".join(f"{address} {name}\n" for name, address in sorted(names.items()))
    if not paths.hosts.exists() or paths.hosts.read_text() != text:
        paths.hosts.write_text(text)
    if not paths.gate.exists():
        os.mkfifo(paths.gate, 0o644)


def fill(layout: Layout, mesh: str, module: api.ModuleSpec) -> None:
    """Give a new instance fresh work and state folders, its files and its wiring.

    Raises:
        AgentError: A file's upload is gone (`code` is `missing-blobs`).
    """
    paths = layout.module(mesh, module.name)
    for folder in (paths.work, paths.state):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        folder.chmod(0o777)
    for file in module.files:
        source = layout.blobs / file.blob
        if not source.exists():
            raise AgentError(
                "missing-blobs",
                f"{module.name}: upload of {file.target} is gone",
                hint="apply the topology again",
            )
        target = paths.work / file.target
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)
        target.chmod(0o755 if file.executable else 0o644)
    paths.wiring_file.write_bytes(api.encode(module.wiring(mesh)))
    paths.wiring_file.chmod(0o644)


def clear_ready(paths: ModulePaths) -> None:
    """Forget that an earlier life of the module was ready."""
    paths.ready.unlink(missing_ok=True)


def remove(layout: Layout, mesh: str, module: str | None = None) -> None:
    """Remove a module's folders, or all of a mesh."""
    target = layout.meshes / mesh
    shutil.rmtree(target / module if module else target, ignore_errors=True)


def write_results(
    paths: ModulePaths, patterns: Iterable[str], log: Path | None, target: Path
) -> None:
    """Write a tar of a module's outputs, records and logs to `target`.

    Members: `log`, `build.log`, `messages.ndjson`, and `outputs/PATH` for each regular file of the
    work folder whose relative path matches one of `patterns`.
    """
    with tarfile.open(target, "w") as tar:
        for name, source in (("log", log), ("build.log", paths.build_log)):
            if source is not None and source.exists():
                tar.add(source, name)
        _add_file(tar, paths.state, "messages.ndjson", "messages.ndjson", MAX_RECORDS_BYTES)
        wanted = tuple(patterns)
        for relative in _files(paths.work):
            if any(_matches(relative, p) for p in wanted):
                _add_file(tar, paths.work, relative, f"outputs/{relative}", None)


def _matches(relative: str, pattern: str) -> bool:
    pattern = pattern.removeprefix("./").removesuffix("/")
    return fnmatchcase(relative, pattern) or relative.startswith(pattern + "/")


def _files(root: Path) -> Iterator[str]:
    """Relative paths of all entries that aren't folders; symbolic links aren't followed."""
    for folder, folders, names in os.walk(root, followlinks=False):
        folders.sort()
        for name in sorted(names):
            yield os.path.relpath(os.path.join(folder, name), root)


def _add_file(
    tar: tarfile.TarFile, root: Path, relative: str, name: str, limit: int | None
) -> None:
    """Add a regular file below `root`, refusing links at every step of the path."""
    descriptor = _open_beneath(root, relative)
    if descriptor is None:
        return
    with os.fdopen(descriptor, "rb") as source:
        facts = os.fstat(source.fileno())
        if not stat.S_ISREG(facts.st_mode):
            return
        member = tarfile.TarInfo(name)
        member.size = min(facts.st_size, limit) if limit else facts.st_size
        member.mtime = int(facts.st_mtime)
        member.mode = stat.S_IMODE(facts.st_mode) & 0o755
        tar.addfile(member, source)


def _open_beneath(root: Path, relative: str) -> int | None:
    """Open a file step by step without following links; None if that isn't possible."""
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        folder = os.open(root, flags | os.O_DIRECTORY)
    except OSError:
        return None
    *parents, last = Path(relative).parts
    try:
        for part in parents:
            deeper = os.open(part, flags | os.O_DIRECTORY, dir_fd=folder)
            os.close(folder)
            folder = deeper
        return os.open(last, flags, dir_fd=folder)
    except OSError:
        return None
    finally:
        os.close(folder)
