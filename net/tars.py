"""Files and folders as a tar, written and read as a stream, safely and with their holes.

    pack(folder, name) ──► chunks of a tar ──► unpack(stream, folder)

Nothing is held in memory or on disk beyond a chunk; holes of sparse files don't travel (GNU's
format 1.0, which GNU tar and bsdtar read). A tar and a folder may both be hostile: paths are
walked step by step from an open folder, links are never followed. Blocking, standard library
only. Must not know: who sends what to whom.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import tarfile
from collections.abc import Collection, Generator, Iterator
from dataclasses import dataclass, field
from typing import BinaryIO, cast

from net.opening import CLOEXEC, DIRECTORY, NOFOLLOW, READ_AT_ONCE, Looked

CHUNK_BYTES = 1 << 20
MAX_DEPTH = 200
BROKEN = (
    tarfile.TarError, EOFError, ValueError, OverflowError, RecursionError, MemoryError,
)  # fmt: skip
"""What tarfile raises for what is no tar, and for hostile headers."""
_MOST_SEGMENTS = 10_000
_BLOCK = tarfile.BLOCKSIZE
_LARGEST_SPARSE = 8**11 - (1 << 24)
"""Bytes of data: a larger member needs a `size` record, which tarfile misreads in a sparse one."""
_LARGEST_TIME = 2.0**33
"""Seconds, the year 2242: file systems and libraries know no end of time, or another each."""
_FOLDER = READ_AT_ONCE | NOFOLLOW | DIRECTORY
BY_DESCRIPTOR = os.open in os.supports_dir_fd
"""Whether folders can be opened and walked from; else `tars_by_path` has to do."""


# --- writing ---------------------------------------------------------------------------------


def pack(parent: int, name: str, member: str, *, without: Collection[int] = ()) -> Iterator[bytes]:
    """The tar of a file or folder, without its end (see `END`).

    Sockets, devices and what can't be read are left out.

    Args:
        parent: Descriptor of the folder it is in.
        name: Its name there.
        member: Its name in the tar.
        without: Devices (`st_dev`) of which nothing is packed.
    """
    stack: list[tuple[int, str, Iterator[str]]] = [(os.dup(parent), "", iter((name,)))]
    try:
        while stack:
            folder, above, names = stack[-1]
            one = next(names, None)
            if one is None:
                stack.pop()
                os.close(folder)
                continue
            path = f"{above}/{one}" if above else member
            below = yield from _entry(folder, one, path, len(stack), without)
            if below is not None:
                stack.append((below, path, iter(sorted(os.listdir(below)))))
    finally:
        for folder, *_ in stack:
            os.close(folder)


END = bytes(2 * _BLOCK)
"""What ends a tar."""


def _entry(
    parent: int, name: str, member: str, depth: int, without: Collection[int]
) -> Generator[bytes, None, int | None]:
    """One entry; its generator returns a descriptor of a folder whose entries are to follow."""
    try:
        with Looked(parent, name) as found:
            facts = found.facts
            if facts.st_dev in without:
                return None
            if stat.S_ISLNK(facts.st_mode):
                info = _info(member, facts)
                info.type, info.linkname = tarfile.SYMTYPE, found.target()
                yield _header(info)
            elif stat.S_ISREG(facts.st_mode):
                with os.fdopen(found.open(READ_AT_ONCE), "rb", 0) as source:
                    yield from pack_file(source.fileno(), member)
            elif stat.S_ISDIR(facts.st_mode) and depth <= MAX_DEPTH:
                folder = found.open(READ_AT_ONCE | DIRECTORY)
                try:
                    info = _info(member, facts)
                    info.type = tarfile.DIRTYPE
                    yield _header(info)
                except BaseException:  # also nobody reads on: it isn't on `pack`'s stack yet
                    os.close(folder)
                    raise
                return folder
    except OSError:  # went away, or isn't ours to read
        return None
    return None


def pack_file(fd: int, member: str, limit: int | None = None) -> Iterator[bytes]:
    """The tar of an open regular file; of its first `limit` bytes, if given.

    A file that becomes shorter meanwhile is filled up with zeros: it harms only itself.
    """
    facts = os.fstat(fd)
    size = facts.st_size if limit is None else min(facts.st_size, limit)
    info = _info(member, facts)
    segments = _segments(fd, size) if facts.st_blocks * 512 < size else [(0, size)]
    data = sum(length for _, length in segments)
    if data == size or data > _LARGEST_SPARSE:
        segments, info.size = [(0, size)], size
        yield _header(info)
    else:
        yield _sparse(info, size, segments)
        info.size = data
    for start, length in segments:
        yield from _read(fd, start, length)
    yield bytes(-info.size % _BLOCK)


def pack_bytes(data: bytes, member: str) -> bytes:
    """The tar of a file with this content."""
    info = tarfile.TarInfo(member)
    info.size = len(data)
    return _header(info) + data + bytes(-len(data) % _BLOCK)


def _info(member: str, facts: os.stat_result) -> tarfile.TarInfo:
    info = tarfile.TarInfo(member)
    info.mode = stat.S_IMODE(facts.st_mode)
    info.mtime = int(facts.st_mtime)
    return info


def _header(info: tarfile.TarInfo) -> bytes:
    return info.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")


def _sparse(info: tarfile.TarInfo, size: int, segments: list[tuple[int, int]]) -> bytes:
    """Header and map of a file with holes.

    Source: "Storing Sparse Files" in GNU tar's manual, PAX format version 1.0.
    """
    numbers = [len(segments), *(number for pair in segments for number in pair)]
    text = "".join(f"{number}\n" for number in numbers).encode()
    text += bytes(-len(text) % _BLOCK)
    info.pax_headers = {
        "GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.name": info.name,
        "GNU.sparse.realsize": str(size),
    }  # fmt: skip
    info.name = f"GNUSparseFile.0/{os.path.basename(info.name)}"
    info.size = len(text) + sum(length for _, length in segments)
    return _header(info) + text


def _segments(fd: int, size: int) -> list[tuple[int, int]]:
    """(start, length) of what isn't a hole. After very many, the rest counts as one."""
    found: list[tuple[int, int]] = []
    position = 0
    while position < size:
        try:
            start = os.lseek(fd, position, os.SEEK_DATA)
        except OSError as exc:
            if exc.errno == errno.ENXIO:  # nothing but a hole
                break
            return [(0, size)]
        position = size if len(found) == _MOST_SEGMENTS - 1 else os.lseek(fd, start, os.SEEK_HOLE)
        if start < size:
            found.append((start, min(position, size) - start))
    return [*found, (size, 0)]  # GNU tar ends a map with an empty segment at the file's end


def _read(fd: int, start: int, length: int) -> Iterator[bytes]:
    end = start + length
    while start < end:
        data = os.pread(fd, min(CHUNK_BYTES, end - start), start)
        data = data or bytes(min(CHUNK_BYTES, end - start))
        yield data
        start += len(data)


# --- reading ---------------------------------------------------------------------------------


@dataclass(slots=True)
class Unpacked:
    """What became of a tar.

    Attributes:
        failed: (member, why) of what could not be written.
        skipped: Members that are neither files, folders nor links.
        missing_bytes: Of files that could not be written.
    """

    files: int = 0
    size_bytes: int = 0
    failed: list[tuple[str, str]] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    missing_bytes: int = 0


def members(source: BinaryIO) -> Iterator[tuple[tarfile.TarFile, tarfile.TarInfo]]:
    """The members of an uncompressed tar, as they come. Raises one of `BROKEN`."""
    last = -1
    with tarfile.open(fileobj=source, mode="r|", bufsize=CHUNK_BYTES) as archive:
        for member in archive:
            if member.size < 0 or member.offset <= last:  # else it could go round for ever
                raise tarfile.ReadError("a size is negative")
            last = member.offset
            archive.members = []  # type: ignore[attr-defined]  # it would keep all of them
            yield archive, member


def unpack(source: BinaryIO, folder: int, rename: tuple[str, str] | None = None) -> Unpacked:
    """Write a tar's members below an open folder. Links aren't followed, wherever they lead.

    Existing files are replaced, each at once; a folder is never replaced by a file.

    Args:
        source: A tar, uncompressed.
        folder: Where to.
        rename: (old, new) first step of all paths.

    Raises:
        tarfile.TarError: It is no tar; or another of `BROKEN`.
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
    archive: tarfile.TarFile, member: tarfile.TarInfo, folder: int, rename: tuple[str, str] | None,
    done: Unpacked,
) -> None:  # fmt: skip
    *above, name = steps(member.name, rename) or [""]
    if not name:
        return
    with _descended(folder, above) as parent:
        if member.isdir():
            _make_folder(parent, name, member)
        elif member.isreg():
            done.size_bytes += _make_file(archive, member, parent, name)
            done.files += 1
        elif member.issym() or member.islnk():
            _make_link(folder, member, parent, name, rename)
            done.files += 1
        else:
            done.skipped.append(member.name[:200])


def steps(name: str, rename: tuple[str, str] | None) -> list[str]:
    """The steps of a member's path, from a folder down.

    Raises:
        ValueError: It would lie elsewhere, or too deep.
    """
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if ".." in parts or "\0" in name or len(parts) > MAX_DEPTH + 1:
        raise ValueError("no path below a folder")
    if rename is not None and parts and parts[0] == rename[0]:
        parts[:1] = [part for part in rename[1].split("/") if part]
    return parts


@contextlib.contextmanager
def _descended(folder: int, parts: list[str]) -> Iterator[int]:
    """The folder at a path, made where it is missing."""
    here = os.dup(folder)
    try:
        for part in parts:
            with contextlib.suppress(FileExistsError):
                os.mkdir(part, 0o755, dir_fd=here)
            deeper = os.open(part, _FOLDER, dir_fd=here)
            os.close(here)
            here = deeper
        yield here
    finally:
        os.close(here)


def _make_folder(parent: int, name: str, member: tarfile.TarInfo) -> None:
    with contextlib.suppress(FileExistsError):
        os.mkdir(name, 0o755, dir_fd=parent)
    fd = os.open(name, _FOLDER, dir_fd=parent)
    try:
        os.fchmod(fd, member.mode & 0o777 | 0o700)  # what is in it is still to come
    finally:
        os.close(fd)


def _make_file(archive: tarfile.TarFile, member: tarfile.TarInfo, parent: int, name: str) -> int:
    fresh = f".otter-{os.getpid()}.new"
    with contextlib.suppress(FileNotFoundError):
        os.unlink(fresh, dir_fd=parent)
    fd = os.open(
        fresh, os.O_RDWR | os.O_CREAT | os.O_EXCL | NOFOLLOW | CLOEXEC, 0o600,
        dir_fd=parent,
    )  # fmt: skip
    try:
        with os.fdopen(fd, "wb") as target:
            size = write_member(archive, member, target)
            os.fchmod(target.fileno(), member.mode & 0o777)
            os.utime(target.fileno(), (sane_time(member.mtime),) * 2)
        _replace(fresh, parent, name)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(fresh, dir_fd=parent)
        raise
    return size


def _make_link(
    folder: int, member: tarfile.TarInfo, parent: int, name: str, rename: tuple[str, str] | None
) -> None:
    fresh = f".otter-{os.getpid()}.new"
    with contextlib.suppress(FileNotFoundError):
        os.unlink(fresh, dir_fd=parent)
    if member.issym():
        os.symlink(member.linkname, fresh, dir_fd=parent)
    else:
        *above, last = steps(member.linkname, rename) or [""]
        with _descended(folder, above) as there:
            os.link(last, fresh, src_dir_fd=there, dst_dir_fd=parent, follow_symlinks=False)
    _replace(fresh, parent, name)


def _replace(fresh: str, parent: int, name: str) -> None:
    """Give a new entry its name; `rename` itself refuses to replace a folder."""
    try:
        os.rename(fresh, name, src_dir_fd=parent, dst_dir_fd=parent)
    except OSError:
        os.unlink(fresh, dir_fd=parent)
        raise


def write_member(archive: tarfile.TarFile, member: tarfile.TarInfo, target: BinaryIO) -> int:
    """Write a regular member's content, holes as holes; returns the bytes that it takes.

    Raises:
        OSError: `ENOSPC` before anything is written, where it is clear that there is no room.
        ValueError: Its map of holes makes no sense, or is of a kind that nobody writes today.
    """
    source = cast(BinaryIO, archive.fileobj)  # not `extractfile`: its files can't skip in a stream
    segments = _map(member)
    data = sum(length for _, length in segments)
    if hasattr(os, "fstatvfs"):  # elsewhere it is told when it is written
        room = os.fstatvfs(target.fileno())
        if data > room.f_bavail * room.f_frsize:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    source.seek(member.offset_data)
    for start, length in segments:
        target.seek(start)
        while length:
            chunk = source.read(min(CHUNK_BYTES, length))
            if not chunk:
                raise tarfile.ReadError("unexpected end of data")
            target.write(chunk)
            length -= len(chunk)
    target.truncate(member.size)
    return data


def _map(member: tarfile.TarInfo) -> list[tuple[int, int]]:
    if not member.issparse():
        return [(0, member.size)]
    if member.pax_headers.get("GNU.sparse.major") != "1":
        raise ValueError("a sparse file of an old format")
    segments = cast("list[tuple[int, int]]", member.sparse)
    position = 0
    for start, length in segments:
        if start < position or length < 0 or start + length > member.size:
            raise ValueError("a map of holes that makes no sense")
        position = start + length
    return segments


def sane_time(seconds: float) -> float:
    """A time that every file system takes; a tar may say `nan` and 1e30."""
    return 0.0 if seconds != seconds else min(max(seconds, 0.0), _LARGEST_TIME)
