"""What of the machine a module is shown: folders, volumes, devices; allowed, there, and safe.

    api.Mount, api.VolumeMount ──binds()──► Bind ──runtime──► a bind mount inside the module

A mount's source must lie below a root that the agent's configuration allows. No step below that
root may be a symbolic link: someone who may write there (a module, another user) could lead it
anywhere. This is checked when a mesh is asked for, before anything is changed, and again by the
runtimes when they mount. Must not know: how a runtime mounts.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from otter_agent import api, beneath
from otter_agent.config import Settings
from otter_agent.errors import AgentError
from otter_agent.layout import Layout
from otter_agent.volumes import Volumes


@dataclass(frozen=True, slots=True)
class Bind:
    """Something of the machine that a module is shown.

    Attributes:
        root: A folder that is trusted: an allowed root, or one of the agent's own.
        relative: Path below it, without links; "": the root itself.
        target: Absolute path inside the module.
        key: How the topology names it, for errors.
    """

    root: str
    relative: str
    target: str
    readonly: bool
    key: str

    @property
    def source(self) -> str:
        """Its path on the machine."""
        return f"{self.root.rstrip('/')}/{self.relative}".rstrip("/") or "/"

    def open(self) -> int:
        """An `O_PATH` descriptor of it, reached through no symbolic link. Raises `OSError`."""
        return beneath.open_beneath(self.root, self.relative)


def roots_of(settings: Settings, given: Iterable[Path]) -> tuple[Path, ...]:
    """All allowed roots: the configuration's and those of the command line."""
    return (*settings.mount_roots, *given)


def check(layout: Layout, spec: api.MeshSpec, settings: Settings, given: Sequence[Path]) -> None:
    """Refuse a mesh of which a module can't be shown what it asks for.

    Raises:
        AgentError: `bad-request`: names the module, the key, and what to do.
    """
    for module in spec.modules:
        if module.runtime == "fake":
            continue
        for bind in binds(layout, module, settings, given):
            _check_there(layout, module, bind)
        for device in module.devices:
            check_device(module.name, device)


def binds(
    layout: Layout, module: api.ModuleSpec, settings: Settings, given: Sequence[Path]
) -> tuple[Bind, ...]:
    """What a module is shown; nothing is opened or made.

    Raises:
        AgentError: `bad-request`: a source is below no allowed root.
    """
    roots = roots_of(settings, given)
    shown = [_bind(module, mount, roots, settings.file) for mount in module.mounts]
    volumes = Volumes(layout)
    for volume in module.volumes:
        key = f'mounts."{volume.target}"'
        data = volumes.data(volume.volume)
        shown.append(
            Bind(str(data.parent.parent), f"{volume.volume}/{data.name}", volume.target,
                 volume.readonly, key)
        )  # fmt: skip
    return tuple(shown)


def _bind(module: api.ModuleSpec, mount: api.Mount, roots: Sequence[Path], file: Path) -> Bind:
    key = f'mounts."{mount.target}"'
    source = Path(mount.source)
    for root in roots:
        if source == root or root in source.parents:
            relative = "" if source == root else str(source.relative_to(root))
            return Bind(str(root), relative, mount.target, mount.readonly, key)
    allowed = ", ".join(map(str, roots)) or "none"
    folder = source if len(source.parts) < 3 else source.parent
    raise refused(
        module.name,
        key,
        f"{source} is below no folder that this machine's agent allows ({allowed})",
        f'to allow it, write mount_roots = ["{folder}"] into {file} (nothing needs a restart),'
        " or start the agent with --mount-root DIR; then apply again",
    )


def _check_there(layout: Layout, module: api.ModuleSpec, bind: Bind) -> None:
    if bind.root == str(Volumes(layout).folder):
        return  # made on first use
    try:
        fd = bind.open()
    except OSError as exc:
        raise refused(module.name, bind.key, explain(exc), _hint(exc)) from exc
    try:
        mode = os.fstat(fd).st_mode
    finally:
        os.close(fd)
    if stat.S_ISCHR(mode) or stat.S_ISBLK(mode):
        raise refused(
            module.name,
            bind.key,
            f"{bind.source} is a device",
            f'write devices = ["{bind.source}"]',
        )
    if not (stat.S_ISDIR(mode) or stat.S_ISREG(mode) or stat.S_ISSOCK(mode)):
        raise refused(module.name, bind.key, f"{bind.source} is neither a file nor a folder", "")
    if module.runtime == "process":
        _check_kinds(module, bind, folder=stat.S_ISDIR(mode))


def _check_kinds(module: api.ModuleSpec, bind: Bind, *, folder: bool) -> None:
    """A process module's files are the machine's: a file can't be shown in a folder's place."""
    there = Path(bind.target)
    if there.exists() and there.is_dir() != folder:
        kinds = ("a folder", "a file") if folder else ("a file", "a folder")
        why = f"{bind.source} is {kinds[0]}, but {bind.target} is {kinds[1]} there"
        raise refused(module.name, bind.key, why, "pick another target")


def check_device(module: str, path: str) -> None:
    """Refuse what is no device of this machine. Raises `AgentError`."""
    key = "devices"
    try:
        mode = os.stat(path).st_mode
    except OSError as exc:
        hint = "is it plugged in, and its driver loaded? ls -l /dev"
        raise refused(module, key, f"{path}: {os.strerror(exc.errno or 0)}", hint) from exc
    if stat.S_ISBLK(mode):
        hint = "a module could read and write all of that disk: mount a folder instead"
        raise refused(module, key, f"{path} is a block device", hint)
    if not (stat.S_ISCHR(mode) or stat.S_ISDIR(mode)):
        raise refused(module, key, f"{path} is no device file", "mount files with `mounts`")


def explain(exc: OSError) -> str:
    """Why a source can't be opened, one line."""
    return f"{exc.filename}: {exc.strerror}"


def _hint(exc: OSError) -> str:
    if exc.errno == errno.ELOOP:
        return "name the place itself: what is mounted is reached through no symbolic link"
    return (
        "it must exist on the machine before it can be mounted" if exc.errno == errno.ENOENT else ""
    )


def refused(module: str, key: str, why: str, hint: str) -> AgentError:
    """The error of a module whose `key` can't be honoured."""
    return AgentError("bad-request", f"module {module}: {key}: {why}", hint=hint)
