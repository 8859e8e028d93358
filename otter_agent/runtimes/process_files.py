"""Files of process modules, seen through the root of the module's own mount namespace.

A module's process names its root (`/proc/PID/root`), with all that it is shown. Without a process
there is the machine's root, which is the same but for mounts. Links are followed inside that root
only, by the kernel (openat2). Blocking. Must not know: launchers, the event loop.
"""

from __future__ import annotations

import contextlib
import errno
import os
import posixpath
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO, Literal

from net import tars
from otter_agent import api, beneath
from otter_agent.errors import AgentError
from otter_agent.runtimes.base import Key
from otter_agent.runtimes.copies import WORK, check_allowed, missing, plain
from otter_agent.secrets import INSIDE as SECRETS

_KINDS: tuple[tuple[Callable[[int], bool], Literal["file", "folder", "link"]], ...] = (
    (stat.S_ISREG, "file"),
    (stat.S_ISDIR, "folder"),
    (stat.S_ISLNK, "link"),
)


class ModuleFiles:
    """The files of one process module.

    Args:
        key: Whose.
        pid: Of its process; None: it has none.
        work: Its work folder, which is called `/work`.
        private: Folder of the agent's that nobody may copy: where it keeps secrets.
    """

    def __init__(self, key: Key, pid: int | None, work: Path, private: Path) -> None:
        self._key = key
        self._root = f"/proc/{pid}/root" if pid is not None else "/"
        self._work = str(work)
        self._private = private

    def stat(self, path: str) -> api.PathInfo:
        """What is at a path, whose last step may be a link."""
        with self._parent(path) as (parent, name, shown):
            try:
                facts = os.stat(name, dir_fd=parent, follow_symlinks=False)
            except FileNotFoundError:
                raise missing(self._key, shown) from None
            kinds = [word for test, word in _KINDS if test(facts.st_mode)]
            kind = kinds[0] if kinds else "other"
            target = self._target(shown) if kind == "link" else ""
            return api.PathInfo(
                path=shown, kind=kind, size_bytes=facts.st_size, target=target,
                mode=stat.S_IMODE(facts.st_mode),
            )  # fmt: skip

    def pack(self, path: str) -> Iterator[bytes]:
        """A file or folder as a tar."""
        with self._parent(path, whole=True) as (parent, name, shown):
            if not os.path.lexists(f"/proc/self/fd/{parent}/{name}"):
                raise missing(self._key, shown)
            yield from tars.pack(parent, name, posixpath.basename(shown), without=self._secret())
            yield tars.END

    def unpack(self, path: str, source: BinaryIO) -> api.Copied:
        """Write the members of a tar below an existing folder."""
        shown = plain(path)
        with self._opened(shown) as folder:
            if not stat.S_ISDIR(os.fstat(folder).st_mode):
                raise AgentError("bad-request", f"module {self._key.module}: {shown} is no folder")
            self._check(folder, shown)
            try:
                done = tars.unpack(source, folder)
            except tars.BROKEN as exc:
                why = f"module {self._key.module}: what was sent is no sound tar: {exc}"
                raise AgentError("bad-request", why) from exc
        return api.Copied(failed=tuple(f"{name}: {why}" for name, why in done.failed))

    @contextlib.contextmanager
    def _parent(self, path: str, *, whole: bool = False) -> Iterator[tuple[int, str, str]]:
        """The folder of a path, its last step, and how the module calls it."""
        shown = plain(path)
        above, name = posixpath.split(shown)
        if shown == WORK:
            above, name = WORK, "."
        with self._opened(above) as parent:
            self._check(parent, above, name, whole=whole)
            yield parent, name or ".", shown

    @contextlib.contextmanager
    def _opened(self, path: str) -> Iterator[int]:
        try:
            fd = self._open(path)
        except OSError as exc:
            if exc.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
                raise missing(self._key, path) from exc
            hint = "copying needs Linux 5.6 or later" if exc.errno == errno.ENOSYS else ""
            why = f"module {self._key.module}: {path}: {exc.strerror}"
            raise AgentError("failed", why, hint=hint) from exc
        try:
            yield fd
        finally:
            os.close(fd)

    def _open(self, path: str) -> int:
        """`/work` is the work folder, wherever that is, and a root: no link leaves it."""
        root = os.open(self._root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            if not _below(path, WORK):
                return beneath.open_in_root(root, path)
            work = beneath.open_in_root(root, self._work)
        finally:
            os.close(root)
        try:
            return beneath.open_in_root(work, path.removeprefix(WORK) or ".")
        finally:
            os.close(work)

    def _target(self, shown: str) -> str:
        """Where a link leads to in the end; "": nowhere."""
        try:
            with self._opened(shown) as fd:
                return os.readlink(f"/proc/self/fd/{fd}")
        except AgentError:
            return ""

    def _check(self, folder: int, shown: str, name: str = "", *, whole: bool = False) -> None:
        """Refuse secrets by any name that leads to them. Raises `AgentError`."""
        real = posixpath.normpath(posixpath.join(os.readlink(f"/proc/self/fd/{folder}"), name))
        for path in (real, posixpath.normpath(posixpath.join(shown, name))):
            check_allowed(path, whole=whole)
        if _below(real, str(self._private)) or os.fstat(folder).st_dev in self._secret():
            raise AgentError("bad-request", f"{shown}: secrets are not copied")

    def _secret(self) -> set[int]:
        """Devices that hold nothing but secrets."""
        found = set()
        for path in (f"{self._root}{SECRETS}", str(self._private)):
            with contextlib.suppress(OSError):
                if os.stat(path).st_dev != os.stat(os.path.dirname(path)).st_dev:
                    found.add(os.stat(path).st_dev)
        return found


def _below(path: str, folder: str) -> bool:
    return path == folder or path.startswith(f"{folder}/")
