"""What a module leaves, as one tar that is made while it is sent: logs, message records, outputs.

All of it was written by the module and is hostile input: links aren't followed, depths are
bounded, and a file that changes while it is read harms nothing but itself. Nothing is copied
first, so outputs may be larger than what is left of memory and disk.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path

from net import tars
from net.traces import MAX_RECORDS_BYTES
from otter_agent import api, beneath
from otter_agent.layout import ModulePaths

MAX_DEPTH = 64
RECORDS_FILE = "messages.csv"
REPORT = "report.json"
LEFT_OUT = "left-out.txt"


def pack_results(paths: ModulePaths, patterns: Iterable[str], log: Path | None) -> Iterator[bytes]:
    """A tar of a module's outputs, records and logs.

    Members: `report.json` (`api.Results`) first, so that a reader knows what is to come; `log`,
    `build.log`, `messages.csv`; `outputs/PATH` for each regular file of the work folder whose
    relative path matches one of `patterns`; and, if something was too deep, `left-out.txt`.
    """
    found = _Outputs(paths.work, tuple(patterns))
    yield tars.pack_bytes(api.encode(found.report()) + b"\n", REPORT)
    for name, source in (("log", log), ("build.log", paths.build_log)):
        if source is not None and source.is_file():
            yield from _file(source.parent, source.name, name, None)
    yield from _file(paths.state, RECORDS_FILE, RECORDS_FILE, MAX_RECORDS_BYTES)
    for relative in found.matching():
        yield from _file(paths.work, relative, f"outputs/{relative}", None)
    if found.left_out:
        text = "".join(f"{line}\n" for line in found.left_out)
        yield tars.pack_bytes(text.encode(errors="replace"), LEFT_OUT)
    yield tars.END


@dataclass(slots=True)
class _Outputs:
    """The files of a work folder that match patterns."""

    root: Path
    patterns: tuple[str, ...]
    left_out: list[str] = field(default_factory=list)

    def matching(self) -> Iterator[str]:
        """Their relative paths, by name."""
        self.left_out.clear()
        for relative in _files(self.root, self.left_out):
            if any(_matches(relative, p) for p in self.patterns):
                yield relative

    def report(self) -> api.Results:
        """How many they are, and which patterns match nothing."""
        unmatched = dict.fromkeys(self.patterns)
        count = total = 0
        for relative in self.matching():
            for pattern in [p for p in unmatched if _matches(relative, p)]:
                del unmatched[pattern]
            count += 1
            try:
                facts = (self.root / relative).lstat()
            except OSError:
                continue
            total += min(facts.st_size, facts.st_blocks * 512)
        return api.Results(
            files=count, size_bytes=total, unmatched=tuple(unmatched), left_out=tuple(self.left_out)
        )


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


def _file(root: Path, relative: str, name: str, limit: int | None) -> Iterator[bytes]:
    """A regular file below `root`, refusing links at every step of the path."""
    descriptor = open_plain(root, relative)
    if descriptor is None:
        return
    try:
        yield from tars.pack_file(descriptor, name, limit)
    finally:
        os.close(descriptor)


def open_plain(root: Path, relative: str) -> int | None:
    """Open a regular file step by step without following links; None if that isn't possible."""
    flags = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        at = os.open(root, flags | os.O_DIRECTORY)
    except OSError:
        return None
    *parents, last = Path(relative).parts
    try:
        for part, kind in [*((parent, os.O_DIRECTORY) for parent in parents), (last, 0)]:
            deeper = os.open(part, flags | kind, dir_fd=at)
            os.close(at)
            at = deeper
        return beneath.open_file(at)
    except OSError:
        return None
    finally:
        os.close(at)
