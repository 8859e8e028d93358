"""`tars` where folders can't be opened and walked from (Windows): by paths, looked at step by step.

Holes of sparse files travel as zeros, modes don't. A link in the way is refused, never followed;
but between that look and the write somebody could put one there, so a folder that others may write
to is no place for this. Names that mean something else on Windows are refused there.
"""

from __future__ import annotations

import contextlib
import os
import stat
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from net.tars import CHUNK_BYTES, MAX_DEPTH, Unpacked, members, sane_time, steps, write_member

ON_WINDOWS = os.name == "nt"
_MEANING = frozenset('<>:"/\\|?*')
_PORTS = {f"{port}{number}" for port in ("COM", "LPT") for number in range(10)}
_DEVICES = frozenset({"CON", "PRN", "AUX", "NUL", "CONIN$", "CONOUT$", *_PORTS})
"""Source: "Naming Files, Paths, and Namespaces" of Microsoft Learn."""


def is_plain(step: str, *, windows: bool = ON_WINDOWS) -> bool:
    """Whether a step of a path is a name, and nothing else, on this system."""
    if not windows:
        return True
    odd = _MEANING & set(step) or not step or min(step) < " " or step[-1] in " ."
    return not odd and step.partition(".")[0].rstrip(" ").upper() not in _DEVICES


# --- writing ---------------------------------------------------------------------------------


def pack(parent: Path, name: str, member: str, *, depth: int = 1) -> Iterator[bytes]:
    """As `tars.pack`: the tar of a file or folder, without its end."""
    path = parent / name
    try:
        facts = path.lstat()
        if stat.S_ISLNK(facts.st_mode):
            yield _header(member, facts, tarfile.SYMTYPE, path.readlink().as_posix())
        elif stat.S_ISREG(facts.st_mode):
            yield from _pack_file(path, member, facts)
        elif stat.S_ISDIR(facts.st_mode) and depth <= MAX_DEPTH:
            yield _header(member, facts, tarfile.DIRTYPE)
            for below in sorted(entry.name for entry in path.iterdir()):
                yield from pack(path, below, f"{member}/{below}", depth=depth + 1)
    except OSError:  # went away, or isn't ours to read
        return


def _header(member: str, facts: os.stat_result, kind: bytes, target: str = "") -> bytes:
    info = tarfile.TarInfo(member)
    info.mode, info.mtime = stat.S_IMODE(facts.st_mode), int(facts.st_mtime)
    info.type, info.linkname = kind, target
    info.size = facts.st_size if kind == tarfile.REGTYPE else 0
    return info.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")


def _pack_file(path: Path, member: str, facts: os.stat_result) -> Iterator[bytes]:
    """One that becomes shorter meanwhile is filled up with zeros."""
    with path.open("rb") as source:
        yield _header(member, facts, tarfile.REGTYPE)
        left = facts.st_size
        while left:
            data = source.read(min(CHUNK_BYTES, left)) or bytes(min(CHUNK_BYTES, left))
            yield data
            left -= len(data)
    yield bytes(-facts.st_size % tarfile.BLOCKSIZE)


# --- reading ---------------------------------------------------------------------------------


def unpack(source: BinaryIO, folder: Path, rename: tuple[str, str] | None = None) -> Unpacked:
    """As `tars.unpack`: write a tar's members below a folder.

    Raises:
        tarfile.TarError: It is no tar; or another of `tars.BROKEN`.
    """
    done = Unpacked()
    for archive, member in members(source):
        try:
            _place(archive, member, folder, rename, done)
        except (OSError, ValueError) as exc:
            reason = exc.strerror if isinstance(exc, OSError) and exc.strerror else str(exc)
            done.failed.append((member.name[:200], reason))
            done.missing_bytes += member.size
    return done


def _place(
    archive: tarfile.TarFile, member: tarfile.TarInfo, folder: Path,
    rename: tuple[str, str] | None, done: Unpacked,
) -> None:  # fmt: skip
    *above, name = _plain(member.name, rename) or [""]
    if not name:
        return
    place = _descended(folder, above) / name
    if member.isdir():
        _descended(folder, [*above, name])
    elif member.isreg():
        done.size_bytes += _make_file(archive, member, place)
        done.files += 1
    elif member.issym():
        with _fresh(place) as fresh:
            fresh.symlink_to(member.linkname)
        done.files += 1
    elif member.islnk():
        *there, last = _plain(member.linkname, rename) or [""]
        with _fresh(place) as fresh:
            fresh.hardlink_to(_descended(folder, there) / last)
        done.files += 1
    else:
        done.skipped.append(member.name[:200])


def _plain(name: str, rename: tuple[str, str] | None) -> list[str]:
    found = steps(name, rename)
    if not all(map(is_plain, found)):
        raise ValueError("no name for a file on this system")
    return found


def _descended(folder: Path, above: list[str]) -> Path:
    """The folder at a path, made where it is missing."""
    here = folder
    for step in above:
        here = here / step
        with contextlib.suppress(FileExistsError):
            here.mkdir()
        if not stat.S_ISDIR(here.lstat().st_mode) or _is_junction(here):
            raise ValueError("something that is no folder is in the way")
    return here


def _is_junction(path: Path) -> bool:
    """A kind of link that Windows has; Python 3.12 tells it by a method."""
    attributes = getattr(path.lstat(), "st_file_attributes", 0)
    return bool(attributes & getattr(stat, "FILE_ATTRIBUTE_REPARSE_POINT", 0))


def _make_file(archive: tarfile.TarFile, member: tarfile.TarInfo, place: Path) -> int:
    with _fresh(place) as fresh:
        with fresh.open("xb") as target:
            size = write_member(archive, member, target)
        time = sane_time(member.mtime)
        os.utime(fresh, (time, time))
    return size


@contextlib.contextmanager
def _fresh(place: Path) -> Iterator[Path]:
    """A name beside it for what the block makes; that takes its place at the end."""
    fresh = place.with_name(f".otter-{os.getpid()}.new")
    fresh.unlink(missing_ok=True)
    try:
        yield fresh
        fresh.replace(place)
    finally:
        fresh.unlink(missing_ok=True)
