"""What a module leaves, as one tar: logs, message records, outputs.

All of it was written by the module and is hostile input: links aren't followed, sizes and depths
are bounded, and a file that changes while it is read harms nothing but itself.
"""

from __future__ import annotations

import io
import os
import shutil
import stat
import tarfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import BinaryIO

from otter_agent.layout import ModulePaths

MAX_RECORDS_BYTES = 64 << 20
"""Of message records; the SDK stops there as well."""
MAX_BYTES = 8 << 30
"""Of one module's outputs; less where the disk has less than twice that to spare."""
MAX_DEPTH = 64
LEFT_OUT = "left-out.txt"


@dataclass(slots=True)
class _Archive:
    """A tar that is being written, and what may still go into it."""

    tar: tarfile.TarFile
    left_bytes: int
    left_out: list[str] = field(default_factory=list)


def write_results(
    paths: ModulePaths, patterns: Iterable[str], log: Path | None, target: Path
) -> None:
    """Write a tar of a module's outputs, records and logs to `target`.

    Members: `log`, `build.log`, `messages.ndjson`; `outputs/PATH` for each regular file of the
    work folder whose relative path matches one of `patterns`; and, if something was too large or
    too deep, `left-out.txt` that says what.
    """
    free = shutil.disk_usage(target.parent).free
    with tarfile.open(target, "w") as tar:
        archive = _Archive(tar, min(MAX_BYTES, free // 2))
        for name, source in (("log", log), ("build.log", paths.build_log)):
            if source is not None and source.exists():
                tar.add(source, name)
        _add(archive, paths.state, "messages.ndjson", "messages.ndjson", MAX_RECORDS_BYTES)
        wanted = tuple(patterns)
        for relative in _files(paths.work, archive.left_out):
            if any(_matches(relative, p) for p in wanted):
                _add(archive, paths.work, relative, f"outputs/{relative}", None)
        if archive.left_out:
            _add_text(tar, LEFT_OUT, "".join(f"{line}\n" for line in archive.left_out))


def _matches(relative: str, pattern: str) -> bool:
    pattern = pattern.removeprefix("./").removesuffix("/")
    return fnmatchcase(relative, pattern) or relative.startswith(pattern + "/")


def _files(root: Path, left_out: list[str]) -> Iterator[str]:
    """Relative paths of all entries that aren't folders, by name; links aren't followed."""
    waiting = [""]
    while waiting:
        folder = waiting.pop()
        if folder.count("/") >= MAX_DEPTH:
            left_out.append(f"{folder[:80]}…: more than {MAX_DEPTH} folders deep")
            continue
        try:
            entries = sorted(os.scandir(root / folder), key=lambda e: e.name)
        except OSError:
            continue
        below = []
        for entry in entries:
            relative = f"{folder}{entry.name}"
            if entry.is_dir(follow_symlinks=False):
                below.append(f"{relative}/")
            else:
                yield relative
        waiting += reversed(below)


def _add(archive: _Archive, root: Path, relative: str, name: str, limit: int | None) -> None:
    """Add a regular file below `root`, refusing links at every step of the path."""
    descriptor = _open_beneath(root, relative)
    if descriptor is None:
        return
    with os.fdopen(descriptor, "rb") as source:
        facts = os.fstat(source.fileno())
        if not stat.S_ISREG(facts.st_mode):
            return
        size = min(facts.st_size, limit) if limit is not None else facts.st_size
        if size > archive.left_bytes:
            archive.left_out.append(f"{relative}: {size} bytes are too many")
            return
        archive.left_bytes -= size
        member = tarfile.TarInfo(name)
        member.size = size
        member.mtime = int(facts.st_mtime)
        member.mode = stat.S_IMODE(facts.st_mode) & 0o755
        archive.tar.addfile(member, _Exactly(source))


class _Exactly(io.RawIOBase):
    """Gives as many bytes as are asked for: zeros where the file has become shorter meanwhile."""

    def __init__(self, source: BinaryIO) -> None:
        self._source = source

    def readable(self) -> bool:
        """It is."""
        return True

    def read(self, size: int = -1) -> bytes:
        """`size` bytes."""
        return self._source.read(size).ljust(size, b"\0")


def _add_text(tar: tarfile.TarFile, name: str, text: str) -> None:
    data = text.encode(errors="replace")
    member = tarfile.TarInfo(name)
    member.size = len(data)
    tar.addfile(member, io.BytesIO(data))


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
