"""Reads layers where Docker's classic store (driver overlay2) has them, bit for bit as they came.

    ROOT/image/overlay2/imagedb/content/sha256/ID        an image's configuration
    ROOT/image/overlay2/layerdb/sha256/CHAIN/{cache-id,size,tar-split.json.gz}
    ROOT/overlay2/CACHE-ID/diff/…                        the files of one layer

`tar-split` holds all of a layer's tar but the content of its files. So a layer is there at once
and from any byte on, where `docker save` first writes all layers of an image to the disk. That the
result is right is for the receiver to check: it has its SHA-256. Only reads; blocking. Must not
know: engines, where layers go.

Source: moby's layer/filestore.go and vbatts/tar-split's tar/asm/assemble.go; unchanged since 2015.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from otter_agent.api.parcels import PIECE_BYTES

_DIGEST = re.compile(r"sha256:([0-9a-f]{64})")
_CACHE_ID = re.compile(r"[0-9a-z-]{1,128}")
_FILE, _SEGMENT = 1, 2
_FOLDER_FLAGS = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC


class Unreadable(Exception):  # noqa: N818 - it says what a layer is
    """It isn't there as it is expected: ask the engine instead."""


@dataclass(frozen=True, slots=True)
class Layer:
    """One layer on the disk.

    Attributes:
        size_bytes: Of its files; its tar is a little larger.
    """

    folder: Path
    split: Path
    size_bytes: int


def store_of(info: Mapping[str, Any]) -> Path | None:
    """The folder of the engine's store, if it can be read from here; by what `/info` says."""
    status = dict(pair for pair in info.get("DriverStatus") or () if len(pair) == 2)
    if info.get("Driver") != "overlay2" or status.get("Native Overlay Diff") != "true":
        return None
    root = Path(info.get("DockerRootDir") or "/nowhere")
    there = root / "image/overlay2/layerdb/sha256"
    return root if os.access(there, os.R_OK | os.X_OK) else None


def hex_of(digest: str) -> str:
    """The digits of a digest. Raises `Unreadable`."""
    match = _DIGEST.fullmatch(digest)
    if match is None:
        raise Unreadable(f"{digest[:80]!r} is no digest")
    return match[1]


def chains(diff_ids: Sequence[str]) -> list[str]:
    """What the store calls each layer: by all below it, too. Source: OCI image spec, ChainID."""
    found: list[str] = []
    for diff_id in diff_ids:
        named = f"{found[-1]} {diff_id}".encode() if found else b""
        found.append(f"sha256:{hashlib.sha256(named).hexdigest()}" if found else diff_id)
    return found


def config(root: Path, image: str) -> bytes:
    """An image's configuration. Raises `Unreadable`."""
    digits = hex_of(image)
    try:
        data = (root / "image/overlay2/imagedb/content/sha256" / digits).read_bytes()
    except OSError as error:
        raise Unreadable(str(error)) from error
    if hashlib.sha256(data).hexdigest() != digits:
        raise Unreadable(f"the configuration of {image} isn't what its name says")
    return data


def find(root: Path, chain: str) -> Layer:
    """A layer by its chain. Raises `Unreadable`."""
    there = root / "image/overlay2/layerdb/sha256" / hex_of(chain)
    try:
        cache_id = (there / "cache-id").read_text().strip()
        size = int((there / "size").read_text())
    except (OSError, ValueError) as error:
        raise Unreadable(str(error)) from error
    if not _CACHE_ID.fullmatch(cache_id):
        raise Unreadable(f"{there}/cache-id")
    folder, split = root / "overlay2" / cache_id / "diff", there / "tar-split.json.gz"
    if not (folder.is_dir() and split.is_file()):
        raise Unreadable(f"{folder} or {split} isn't there")
    return Layer(folder, split, size)


def read(layer: Layer, start: int = 0) -> Iterator[bytes]:
    """The layer's tar from byte `start` on, in pieces. Raises `Unreadable`, `OSError`."""
    skip, gathered = start, bytearray()
    with _Files(layer.folder) as files, closing(gzip.open(layer.split)) as split:
        for line in split:
            entry = json.loads(line)
            size, content = _extent(entry)
            if skip >= size:
                skip -= size
                continue
            if content is not None:
                gathered += content[skip:]
            else:
                for block in files.read(_name(entry), skip, size - skip):
                    gathered += block
                    if len(gathered) >= PIECE_BYTES:
                        yield from _cut(gathered)
            skip = 0
            if len(gathered) >= PIECE_BYTES:
                yield from _cut(gathered)
    if gathered:
        yield bytes(gathered)


def _extent(entry: Mapping[str, Any]) -> tuple[int, bytes | None]:
    """How many bytes of the tar an entry stands for, and them, unless they are a file's."""
    if entry["type"] == _SEGMENT:
        content = base64.b64decode(entry.get("payload") or "")
        return len(content), content
    if entry["type"] != _FILE:
        raise Unreadable(f"an entry of unknown type {entry['type']}")
    return entry.get("size", 0), None


def _cut(gathered: bytearray) -> Iterator[bytes]:
    while len(gathered) >= PIECE_BYTES:
        yield bytes(gathered[:PIECE_BYTES])
        del gathered[:PIECE_BYTES]


def _name(entry: Mapping[str, Any]) -> bytes:
    raw = entry.get("name_raw")
    return base64.b64decode(raw) if raw else str(entry.get("name", "")).encode()


class _Files:
    """Opens files below a folder without following any link: images are other people's.

    The folder of the last one stays open, as the next is most often in the same.
    """

    def __init__(self, top: Path) -> None:
        self._top = os.open(top, _FOLDER_FLAGS)
        self._names: list[bytes] = []
        self._open: list[int] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        for descriptor in (*self._open, self._top):
            os.close(descriptor)

    def read(self, name: bytes, start: int, size: int) -> Iterator[bytes]:
        """`size` bytes of a file from `start` on."""
        *folders, last = [part for part in name.split(b"/") if part not in (b"", b".")] or [b""]
        if b".." in (*folders, last) or not last:
            raise Unreadable(f"an entry of the name {name!r}")
        try:
            descriptor = os.open(last, _FILE_FLAGS, dir_fd=self._folder(folders))
        except OSError as error:
            raise Unreadable(f"{name!r}: {error.strerror}") from error
        with os.fdopen(descriptor, "rb", buffering=0) as file:
            file.seek(start)
            while size > 0:
                block = file.read(min(size, PIECE_BYTES))
                if not block:
                    raise Unreadable(f"{name!r} is shorter than it was")
                size -= len(block)
                yield block

    def _folder(self, names: list[bytes]) -> int:
        same = 0
        while same < min(len(names), len(self._names)) and names[same] == self._names[same]:
            same += 1
        for descriptor in self._open[same:]:
            os.close(descriptor)
        del self._open[same:], self._names[same:]
        for name in names[same:]:
            above = self._open[-1] if self._open else self._top
            self._open.append(os.open(name, _FOLDER_FLAGS, dir_fd=above))
            self._names.append(name)
        return self._open[-1] if self._open else self._top
