"""The folders of a module: made before it starts, removed after it.

What lies in `work` and `state` was written by the module and is hostile input: links aren't
followed, and any depth is removed.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

from otter_agent import api, storage
from otter_agent.errors import AgentError
from otter_agent.layout import Layout, ModulePaths
from otter_agent.network.outside import resolver

_LOCALHOST = "127.0.0.1 localhost\n"


def hosts_file(names: Mapping[str, str]) -> str:
    """The content of /etc/hosts in all modules of a mesh: name -> address."""
    lines = (f"{address} {name}\n" for name, address in sorted(names.items()))
    return _LOCALHOST + "".join(lines)


def make(layout: Layout, mesh: str, module: str, hosts: str, *, reaches_out: bool = False) -> None:
    """Make a module's folders and bring its files for name resolution up to date, in place.

    In place because they are bind-mounted: a rename would leave the module with the old ones.

    Args:
        layout: Where folders are.
        mesh: Its name.
        module: Its name.
        hosts: See `hosts_file`.
        reaches_out: Whether names of the outside world resolve.
    """
    paths = layout.module(mesh, module)
    os.makedirs(paths.base, exist_ok=True)
    for folder in (paths.work, paths.wiring, paths.state):
        with contextlib.suppress(FileExistsError):
            os.mkdir(folder)
    for folder in (paths.work, paths.state):
        folder.chmod(0o777)  # an image's own user must be able to write; above it is ours alone
    layout.meshes.chmod(0o711)
    _write(paths.hosts, hosts)
    _write(paths.resolv_conf, resolver.resolv_conf(reaches_out=reaches_out))
    _write(paths.nsswitch, resolver.nsswitch())
    with contextlib.suppress(FileExistsError):
        os.mkfifo(paths.gate, 0o644)


def _write(path: Path, text: str) -> None:
    """Have it hold that; without Python's files, which took most of a machine's time for it."""
    data = text.encode()
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        if os.fstat(file).st_size == len(data) and os.pread(file, len(data) + 1, 0) == data:
            return
        os.ftruncate(file, 0)
        _put(file, data)
        os.fchmod(file, 0o644)
    finally:
        os.close(file)


def _put(file: int, data: bytes) -> None:
    left = memoryview(data)
    while left:
        left = left[os.write(file, left) :]


def fill(layout: Layout, mesh: str, module: api.ModuleSpec, wiring: api.Wiring) -> None:
    """Give a new instance fresh work and state folders, its files and its wiring.

    Raises:
        AgentError: A file's upload is gone (`code` is `missing-blobs`).
        StorageError: A work folder that holds so much and no more can't be had.
    """
    paths = layout.module(mesh, module.name)
    storage.unmount(paths.work)
    paths.volume.unlink(missing_ok=True)
    for folder in (paths.work, paths.state):
        _empty(folder)
        os.makedirs(folder)
        folder.chmod(0o777)
    if module.storage_bytes is not None and module.runtime != "fake":
        storage.make(paths, module.storage_bytes, contained=module.runtime == "docker")
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
    _write(paths.wiring_file, api.encode(wiring).decode())


def _empty(folder: Path) -> None:
    """Remove it; most of them are empty, and that is all that one needs."""
    try:
        os.rmdir(folder)
    except FileNotFoundError:
        return
    except OSError:
        remove_tree(folder)


def remove_tree(path: Path) -> None:
    """Remove a folder with all below it, however deep: rmtree ends at Python's recursion limit."""
    with contextlib.suppress(RecursionError):
        shutil.rmtree(path, ignore_errors=True)
    if os.path.lexists(path):
        subprocess.run(["rm", "-rf", "--", path], check=False, stderr=subprocess.DEVNULL)


def clear_ready(paths: ModulePaths) -> bool:
    """Forget that an earlier life of the module was ready; False: `remove_tree` has to."""
    try:
        paths.ready.unlink(missing_ok=True)
    except OSError:  # a module may make a folder of it
        return False
    return True


def remove(layout: Layout, mesh: str, module: str | None = None) -> None:
    """Remove a module's folders, or all of a mesh."""
    target = layout.meshes / mesh
    target = target / module if module else target
    for work in [target / "work"] if module else target.glob("*/work"):
        storage.unmount(work)
    remove_tree(target)
