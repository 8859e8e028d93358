"""Unpacks an uploaded module folder. What was uploaded is hostile input.

Python 3.11.4 brought tarfile's `data` filter; Debian 12 has 3.11.2, so the rules are here: regular
files, folders, and symbolic links that stay inside. Only plain tars, which is what otterctl sends:
a compressed one could be a bomb. Must not know: where the tar came from.
"""

from __future__ import annotations

import errno
import os
import shutil
import tarfile
from pathlib import Path, PurePosixPath

MAX_BYTES = 8 << 30
MAX_MEMBERS = 100_000
"""Far above any module folder; a small tar that unpacks to a full disk is an accident."""
MAX_DEPTH = 64
"""Folders in folders; what walks the module folder later may recurse."""

_BROKEN = (
    tarfile.TarError, EOFError, ValueError, OverflowError, RecursionError, MemoryError,
)  # fmt: skip
"""What tarfile raises for hostile headers: sizes, sparse maps, headers upon headers."""
_CLASH = (FileExistsError, IsADirectoryError, NotADirectoryError)


class UnpackError(ValueError):
    """The tar holds something that a module folder can't."""


def unpack(tar: Path, folder: Path) -> None:
    """Unpack `tar` into the empty `folder`: files read-only, owned by this process.

    Raises:
        UnpackError: Not a tar, or a member is absolute, climbs out, or is no file, folder or link.
        OSError: The disk is full, and the like.
    """
    folder.mkdir(parents=True, exist_ok=True)
    try:
        links = _files(tar, folder)
        # Links come last, so that nothing was written through one.
        _links(links, folder)
    except UnpackError:
        raise
    except _BROKEN as exc:
        raise UnpackError(f"not a tar: {exc}") from exc
    except OSError as exc:
        if exc.errno == errno.ENAMETOOLONG:
            raise UnpackError("a name or path is too long") from exc
        raise


def _files(tar: Path, folder: Path) -> list[tuple[Path, str]]:
    """Write files and folders; returns the links, which are still to be made."""
    links: list[tuple[Path, str]] = []
    total = 0
    with tarfile.open(tar, "r:") as archive:
        for count, member in enumerate(archive):
            total += member.size
            if member.size < 0 or member.issparse():
                raise UnpackError(f"{member.name!r} is not a plain file")
            if count >= MAX_MEMBERS or total > MAX_BYTES:
                raise UnpackError(f"over {MAX_MEMBERS} files or {MAX_BYTES >> 30} GiB")
            target = folder / _inside(member.name)
            if target == folder and not member.isdir():
                raise UnpackError(f"{member.name!r} is the module folder itself")
            if member.isdir():
                _mkdir(member, target)
            elif member.isreg():
                _write(archive, member, target)
            elif member.issym():
                links.append((target, member.linkname))
            else:
                raise UnpackError(f"{member.name!r} is neither a file, a folder nor a link")
    return links


def _inside(name: str) -> PurePosixPath:
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or "\0" in name:
        raise UnpackError(f"{name!r} lies outside of the module folder")
    if len(path.parts) > MAX_DEPTH:
        raise UnpackError(f"{name[:80]!r}… lies over {MAX_DEPTH} folders deep")
    return path


def _mkdir(member: tarfile.TarInfo, target: Path) -> None:
    try:
        target.mkdir(parents=True, exist_ok=True)
    except _CLASH as exc:
        raise UnpackError(f"{member.name!r} is both a file and a folder") from exc


def _write(archive: tarfile.TarFile, member: tarfile.TarInfo, target: Path) -> None:
    source = archive.extractfile(member)
    assert source is not None
    mode = 0o555 if member.mode & 0o100 else 0o444
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        target.unlink(missing_ok=True)
        with target.open("xb") as file:
            shutil.copyfileobj(source, file)
            os.fchmod(file.fileno(), mode)
    except _CLASH as exc:
        raise UnpackError(f"{member.name!r} is both a file and a folder") from exc


def _links(links: list[tuple[Path, str]], folder: Path) -> None:
    """Make the links, then look where each leads: a later link can turn an earlier one."""
    made: list[tuple[Path, str]] = []
    try:
        for target, linkname in links:
            _link(target, linkname, folder)
            made.append((target, linkname))
        root = os.path.realpath(folder)
        for target, linkname in made:
            if not _leads_inside(target, root):
                raise UnpackError(
                    f"link {target.name!r} -> {linkname!r} leads out of the module folder"
                )
    except BaseException:
        for target, _ in made:
            target.unlink()
        raise


def _link(target: Path, linkname: str, folder: Path) -> None:
    if not linkname or "\0" in linkname:
        raise UnpackError(f"link {target.name!r} leads to no name: {linkname!r}")
    above = target.parent
    while above != folder:
        if above.is_symlink():
            raise UnpackError(f"{target.name!r} lies below the link {above.name!r}")
        above = above.parent
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        target.symlink_to(linkname)
    except _CLASH as exc:
        raise UnpackError(f"{target.name!r} is there twice") from exc


def _leads_inside(link: Path, root: str) -> bool:
    try:
        real = os.path.realpath(link, strict=True)
    except (FileNotFoundError, NotADirectoryError):
        real = os.path.realpath(link)  # to nothing, so far; it must stay inside all the same
    except OSError as exc:
        if exc.errno == errno.ELOOP:
            return False
        raise
    return real == root or real.startswith(f"{root}/")
