"""Unpacks an uploaded module folder. What was uploaded is hostile input.

Python 3.11.4 brought tarfile's `data` filter; Debian 12 has 3.11.2, so the rules are here: regular
files, folders, and symbolic links that stay inside. Must not know: where the tar came from.
"""

from __future__ import annotations

import os
import shutil
import tarfile
from pathlib import Path, PurePosixPath

MAX_BYTES = 8 << 30
MAX_MEMBERS = 100_000
"""Far above any module folder; a small tar that unpacks to a full disk is an accident."""


class UnpackError(ValueError):
    """The tar holds something that a module folder can't."""


def unpack(tar: Path, folder: Path) -> None:
    """Unpack `tar` into the empty `folder`: files read-only, owned by this process.

    Raises:
        UnpackError: Not a tar, or a member is absolute, climbs out, or is no file, folder or link.
        OSError: The disk is full, and the like.
    """
    links: list[tuple[Path, str]] = []
    total = 0
    try:
        with tarfile.open(tar) as archive:
            for count, member in enumerate(archive):
                total += member.size
                if count >= MAX_MEMBERS or total > MAX_BYTES:
                    raise UnpackError(f"over {MAX_MEMBERS} files or {MAX_BYTES >> 30} GiB")
                target = folder / _inside(member.name)
                if member.isdir():
                    target.mkdir(parents=True, exist_ok=True)
                elif member.isreg():
                    _write(archive, member, target)
                elif member.issym():
                    links.append((target, member.linkname))
                else:
                    raise UnpackError(f"{member.name} is neither a file, a folder nor a link")
    except (tarfile.TarError, EOFError) as exc:
        raise UnpackError(f"not a tar: {exc}") from exc
    # Links come last, so that nothing was written through one.
    for target, linkname in links:
        _link(target, linkname, folder)


def _inside(name: str) -> PurePosixPath:
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or "\0" in name:
        raise UnpackError(f"{name!r} lies outside of the module folder")
    return path


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
    except (FileExistsError, IsADirectoryError, NotADirectoryError) as exc:
        raise UnpackError(f"{member.name} is both a file and a folder") from exc


def _link(target: Path, linkname: str, folder: Path) -> None:
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        target.symlink_to(linkname)
        if target.resolve().is_relative_to(folder.resolve()):
            return
    except (FileExistsError, NotADirectoryError) as exc:
        raise UnpackError(f"{target.name} is there twice") from exc
    except RuntimeError:  # a loop of links; 3.13 says OSError
        pass
    target.unlink()
    raise UnpackError(f"link {target.name} -> {linkname} leads out of the module folder")
