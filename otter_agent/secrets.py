"""Secrets: each value is a file in memory, `run/secrets/MESH/MODULE/NAME`, and nowhere else.

    PUT /v1/meshes/M/secrets ──► tmpfs file, 0400 ──► /run/secrets/NAME inside the module

Nothing of a value is kept on a disk, no digest either: whether a value has changed is asked of the
file. So after a reboot they are gone, and modules wait until the next apply brings them. Must not
know: HTTP, when modules start, how a runtime shows files.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from otter_agent import api
from otter_agent.errors import AgentError
from otter_agent.launcher import linux
from otter_agent.layout import Layout

INSIDE = "/run/secrets"
"""Where a module finds them: Compose's place."""
MAX_BYTES = 1 << 20
"""Of one value: more than a key or a certificate is a file, not a secret."""
_TMPFS_BYTES = 64 << 20


@dataclass(frozen=True, slots=True)
class Secrets:
    """The secrets of all meshes of one agent."""

    layout: Layout

    @property
    def root(self) -> Path:
        """Parent of the meshes' folders; on a tmpfs whenever something is in it."""
        return self.layout.run / "secrets"

    def folder(self, mesh: str, module: str) -> Path:
        """The folder that becomes `/run/secrets` in a module."""
        return self.root / mesh / module

    def put(self, spec: api.MeshSpec, values: Mapping[str, str]) -> set[str]:
        """Store the values for all modules that name them; returns the modules whose differ now.

        Values that no module names are ignored.

        Raises:
            AgentError: A value is too long, or there is no tmpfs to be had.
        """
        for name, value in values.items():
            if len(value.encode()) > MAX_BYTES:
                why = f"secret {name[:80]!r} is longer than {MAX_BYTES} bytes"
                raise AgentError("bad-request", why, hint="give a module its files by `files`")
        self._ensure_memory()
        changed: set[str] = set()
        for module in spec.modules:
            folder = self.folder(spec.name, module.name)
            for name in module.secrets:
                if name in values and _store(folder, name, values[name].encode()):
                    changed.add(module.name)
        self._drop_if_empty()
        return changed

    def differing(self, spec: api.MeshSpec, values: Mapping[str, str]) -> dict[str, list[str]]:
        """Modules -> those of their secrets that are here with another value; stores nothing."""
        return {
            module.name: names
            for module in spec.modules
            if (names := self._others(self.folder(spec.name, module.name), module, values))
        }

    def _others(self, folder: Path, module: api.ModuleSpec, values: Mapping[str, str]) -> list[str]:
        return [
            name
            for name in module.secrets
            if name in values and _before(folder / name) not in (None, values[name].encode())
        ]

    def missing(self, mesh: str, module: api.ModuleSpec) -> list[str]:
        """Names of those that a module needs and that aren't here."""
        if not module.secrets:
            return []
        folder = self.folder(mesh, module.name)
        return [name for name in module.secrets if not (folder / name).is_file()]

    def read(self, mesh: str, module: str) -> dict[str, bytes]:
        """All values of a module, to be handed to its runtime."""
        folder = self.folder(mesh, module)
        with contextlib.suppress(FileNotFoundError):
            return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}
        return {}

    def own(self, mesh: str, module: str, user: str) -> None:
        """Make them readable for the user that an image runs as (`USER` of a Dockerfile).

        A user given by name is known inside the image only: then all users inside may read. Other
        users of the machine can't come near: the folder above is the agent's alone.
        """
        uid, _, gid = user.partition(":")
        numbers = [int(n) if n.isascii() and n.isdigit() else -1 for n in (uid or "0", gid or "0")]
        for path in self.folder(mesh, module).iterdir():
            os.chown(path, max(0, numbers[0]), max(0, numbers[1]))
            path.chmod(0o400 if numbers[0] >= 0 else 0o444)

    def keep_only(self, spec: api.MeshSpec) -> None:
        """Forget what a mesh's modules don't name any more."""
        named = {module.name: set(module.secrets) for module in spec.modules}
        for module in _names(self.root / spec.name):
            folder = self.folder(spec.name, module)
            for name in _names(folder):
                if name not in named.get(module, ()):
                    (folder / name).unlink(missing_ok=True)
            if not named.get(module):
                shutil.rmtree(folder, ignore_errors=True)

    def remove(self, mesh: str) -> None:
        """Forget all of a mesh."""
        shutil.rmtree(self.root / mesh, ignore_errors=True)
        self._drop_if_empty()

    def sweep(self, known: Iterable[str]) -> None:
        """Forget all of meshes that aren't `known`."""
        for mesh in set(_names(self.root)) - set(known):
            self.remove(mesh)

    # --- memory --------------------------------------------------------------------------------

    def _ensure_memory(self) -> None:
        """A tmpfs at `root`, unless the run folder is on one: values must not reach a disk."""
        self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.root.chmod(0o700)
        if kind_of(self.root) == "tmpfs":
            return
        if os.path.ismount(self.root) or _names(self.root):
            why = f"{self.root} is on a disk, and in use"
            raise AgentError("failed", why, hint="empty that folder and apply again")
        options = f"mode=700,size={_TMPFS_BYTES}"
        flags = linux.MS_NOSUID | linux.MS_NODEV | linux.MS_NOEXEC
        try:
            try:  # `noswap`: Linux 6.4 and later
                linux.mount("otter-secrets", str(self.root), "tmpfs", flags, f"{options},noswap")
            except OSError:
                linux.mount("otter-secrets", str(self.root), "tmpfs", flags, options)
        except OSError as exc:
            why = f"no tmpfs for secrets at {self.root}: {exc.strerror}"
            raise AgentError("failed", why, hint="secrets need an agent that runs as root") from exc

    def _drop_if_empty(self) -> None:
        if _names(self.root):
            return
        if os.path.ismount(self.root):
            with contextlib.suppress(OSError):
                linux.detach(str(self.root))
        with contextlib.suppress(OSError):
            self.root.rmdir()


def kind_of(path: Path) -> str:
    """The type of the file system that holds a path: `tmpfs`, `ext4`. Source: proc(5)."""
    device = os.stat(path).st_dev
    wanted = f"{os.major(device)}:{os.minor(device)}"
    found = ""
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
        for fields in map(str.split, file):
            if fields[2] == wanted:
                found = fields[fields.index("-") + 1]
    return found


def _store(folder: Path, name: str, value: bytes) -> bool:
    """Write a value whole or not at all; returns whether there was another one before."""
    folder.mkdir(mode=0o755, parents=True, exist_ok=True)
    folder.chmod(0o755)  # it is seen from inside as well, where its users may be others
    path = folder / name
    before = _before(path)
    if before == value:
        return False
    fresh = folder.parent / f".{folder.name}.new"
    fd = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o400)
    with os.fdopen(fd, "wb") as file:
        if before is not None:
            facts = path.stat()
            os.fchown(fd, facts.st_uid, facts.st_gid)
            os.fchmod(fd, facts.st_mode & 0o777)
        file.write(value)
    fresh.rename(path)
    return before is not None


def _before(path: Path) -> bytes | None:
    return path.read_bytes() if path.exists() else None


def _names(folder: Path) -> list[str]:
    try:
        return os.listdir(folder)
    except (FileNotFoundError, NotADirectoryError):
        return []
