"""What a module is shown at places of its choice: bind mounts and secrets in its own namespace.

A target that the machine doesn't have is made for this one module, without a trace outside: the
folder where it is to be becomes a tmpfs in which everything that it held is shown again, by bind
mounts, beside the new name (snapd does the same and calls it a writable mimic). For a new name in
`/` that tmpfs becomes the module's root. Runs in a forked child, in a mount namespace of its own.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Iterator, Mapping

from otter_agent import beneath
from otter_agent.launcher import linux
from otter_agent.launcher.records import Shown

SECRETS = "/run/secrets"
MOST_ENTRIES = 2000
"""Of a folder that is to get a new name: each costs a mount."""
_STAGE = "/tmp"
"""Where a new root is put together."""
_OLD_ROOT = ".otter-old-root"


def show(binds: list[Shown], secrets: Mapping[str, str]) -> None:
    """Mount all of it.

    Args:
        binds: What of the machine to show where.
        secrets: Name -> value, for files in /run/secrets that only root may read.

    Raises:
        RuntimeError: Names the mount, and says why it can't be made.
    """
    opened = [_open(bind) for bind in binds]  # first: a target may cover another's source
    places = _Places()
    try:
        for bind, source in zip(binds, opened, strict=True):
            with _naming(bind["key"]):
                folder = stat.S_ISDIR(os.fstat(source).st_mode)
                _bind(source, places.make(bind["target"], folder=folder), bind["readonly"])
                os.close(source)
        if secrets:
            with _naming("secrets"):
                _write(places.make(SECRETS, folder=True), secrets)
    finally:
        places.close()


def make_place(target: str, *, folder: bool) -> str:
    """A mount point in this process's mount namespace; returns its path without links.

    Raises:
        OSError: It can't be had.
    """
    places = _Places()
    try:
        return places.make(target, folder=folder)
    finally:
        places.close()


@contextlib.contextmanager
def _naming(key: str) -> Iterator[None]:
    try:
        yield
    except OSError as exc:
        where = f"{exc.filename}: " if exc.filename else ""
        raise RuntimeError(f"{key}: {where}{exc.strerror}") from exc


def _open(bind: Shown) -> int:
    with _naming(bind["key"]):
        return beneath.open_beneath(bind["root"], bind["relative"])


def _bind(source: int, target: str, readonly: bool) -> None:
    """Of one file system: what is mounted below the source isn't shown, so `readonly` holds."""
    path = f"/proc/self/fd/{source}"
    linux.mount(path, target, None, linux.MS_BIND)
    linux.restrict(target, linux.MS_NOSUID | linux.MS_NODEV | (linux.MS_RDONLY if readonly else 0))


def _write(target: str, secrets: Mapping[str, str]) -> None:
    flags = linux.MS_NOSUID | linux.MS_NODEV | linux.MS_NOEXEC
    linux.mount("otter-secrets", target, "tmpfs", flags, "mode=755")
    for name, value in secrets.items():
        fd = os.open(f"{target}/{name}", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o400)
        with os.fdopen(fd, "wb") as file:
            file.write(value.encode())
    linux.mount(None, target, None, flags | linux.MS_REMOUNT | linux.MS_RDONLY)


class _Places:
    """Makes mount points."""

    def __init__(self) -> None:
        self._mimicked: set[str] = set()

    def make(self, target: str, *, folder: bool) -> str:
        """A file or folder at `target`; returns its path without links."""
        path = os.path.realpath(target)
        if os.path.exists(path):
            if os.path.isdir(path) != folder:
                kinds = ("a folder", "a file") if folder else ("a file", "a folder")
                raise OSError(0, f"{path} is {kinds[1]}, and can't show {kinds[0]}")
            return path
        above = os.path.dirname(path)
        while not os.path.exists(above):
            above = os.path.dirname(above)
        if above not in self._mimicked:
            self._mimic(above)
        os.makedirs(path if folder else os.path.dirname(path), exist_ok=True)
        if not folder:
            os.close(os.open(path, os.O_WRONLY | os.O_CREAT, 0o644))
        return path

    def close(self) -> None:
        """Let go of the old root, if there is a new one."""
        if "/" in self._mimicked:
            linux.detach(f"/{_OLD_ROOT}")
            os.rmdir(f"/{_OLD_ROOT}")

    def _mimic(self, folder: str) -> None:
        """Put a tmpfs in a folder's place that shows all that the folder held."""
        origin = os.open(folder, os.O_PATH | os.O_DIRECTORY)
        names = os.listdir(f"/proc/self/fd/{origin}")
        if len(names) > MOST_ENTRIES:
            raise OSError(
                0, f"{folder} has {len(names)} entries, too many to add one: pick another"
            )
        facts = os.fstat(origin)
        place = _STAGE if folder == "/" else folder
        covered = os.open(place, os.O_PATH | os.O_DIRECTORY)
        _tmpfs(place, facts)
        linux.mount(None, place, None, linux.MS_UNBINDABLE)  # not to be found in itself
        for name in names:
            hidden = place != folder and f"/{name}" == place
            source = f"/proc/self/fd/{covered}" if hidden else f"/proc/self/fd/{origin}/{name}"
            _again(source, f"{place}/{name}", folder=hidden)
        os.close(covered)
        os.close(origin)
        if folder == "/":
            os.mkdir(f"{place}/{_OLD_ROOT}", 0o700)
            linux.pivot_root(place, f"{place}/{_OLD_ROOT}")
            os.chdir("/")
        self._mimicked.add(folder)


def _tmpfs(place: str, like: os.stat_result) -> None:
    """Mount one there whose top folder is like another, as far as its owner is somebody here."""
    flags = linux.MS_NOSUID | linux.MS_NODEV
    options = f"mode={stat.S_IMODE(like.st_mode):o}"
    try:
        owned = f"{options},uid={like.st_uid},gid={like.st_gid}"
        linux.mount("otter-mimic", place, "tmpfs", flags, owned)
    except OSError as exc:
        if exc.errno != errno.EINVAL:
            raise
        linux.mount("otter-mimic", place, "tmpfs", flags, options)  # nobody of this user namespace


def _again(source: str, target: str, *, folder: bool) -> None:
    """Show an entry of a folder at another place; one that goes away meanwhile isn't there."""
    try:
        mode = os.stat(source, follow_symlinks=folder).st_mode
        if stat.S_ISLNK(mode):
            os.symlink(os.readlink(source), target)
            return
        if stat.S_ISDIR(mode):
            os.mkdir(target)
        else:
            os.close(os.open(target, os.O_WRONLY | os.O_CREAT, 0o600))
        linux.mount(source, target, None, linux.MS_BIND | linux.MS_REC)
    except FileNotFoundError:
        return
