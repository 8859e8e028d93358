"""Layers out of what `docker save` writes: for engines whose store can't be read on the disk.

The whole image goes through a file in between, whatever little of it is asked for. Its layers may
be compressed there (containerd's store); what is read is the plain tar all the same. Blocking but
for `save`. Must not know: where layers go.
"""

from __future__ import annotations

import asyncio
import json
import posixpath
import tarfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from otter_agent.api.parcels import PIECE_BYTES
from otter_agent.engine import Engine

_GZIP, _ZSTD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"


class NotReadable(Exception):  # noqa: N818 - it says what an archive is
    """What the engine wrote isn't understood."""


@dataclass(frozen=True, slots=True)
class Saved:
    """An image in a file.

    Attributes:
        config: Byte for byte.
        layers: Digest of each layer's tar -> where its bytes are: offset, size.
    """

    file: Path
    config: bytes
    layers: dict[str, tuple[int, int]]


async def save(engine: Engine, reference: str, file: Path) -> Saved:
    """Have the engine write an image to `file`.

    Raises:
        EngineError: It has no such image, or is away.
        NotReadable: What it wrote isn't understood.
        OSError: The disk is full.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    async with engine.stream("GET", f"/images/{reference}/get") as response:
        with file.open("wb") as target, engine.errors():
            async for block in response.content.iter_chunked(1 << 20):
                await asyncio.to_thread(target.write, block)
    return await asyncio.to_thread(index, file)


def index(file: Path) -> Saved:
    """What is where in an archive. Raises `NotReadable`."""
    try:
        with tarfile.open(file, "r:") as archive:
            (image, *_) = json.loads(_content(archive, "manifest.json"))
            config = _content(archive, image["Config"])
            diff_ids = json.loads(config)["rootfs"]["diff_ids"]
            layers = {}
            for diff_id, name in zip(diff_ids, image["Layers"], strict=True):
                member = _target(archive, name)
                layers[diff_id] = (member.offset_data, member.size)
    except (tarfile.TarError, KeyError, ValueError, TypeError) as error:
        raise NotReadable(f"the engine's archive isn't understood ({error})") from error
    return Saved(file, config, layers)


def read(saved: Saved, diff_id: str, start: int = 0) -> Iterator[bytes]:
    """A layer's tar from byte `start` on, in pieces. Raises `NotReadable`, `KeyError`."""
    offset, size = saved.layers[diff_id]
    skip = start
    for block in _plain(_blocks(saved.file, offset, size)):
        if skip >= len(block):
            skip -= len(block)
            continue
        yield block[skip:]
        skip = 0


def _blocks(file: Path, offset: int, size: int) -> Iterator[bytes]:
    with file.open("rb") as source:
        source.seek(offset)
        while size > 0:
            block = source.read(min(size, PIECE_BYTES))
            if not block:
                raise NotReadable(f"{file} is shorter than it was")
            size -= len(block)
            yield block


def _plain(blocks: Iterator[bytes]) -> Iterator[bytes]:
    """Decompressed, if they are compressed by gzip."""
    first = next(blocks, b"")
    if first.startswith(_ZSTD):
        raise NotReadable("a layer is compressed by zstd, which this version can't read")
    if not first.startswith(_GZIP):
        yield first
        yield from blocks
        return
    inflating = zlib.decompressobj(wbits=31)
    data = first
    while data:
        plain = inflating.decompress(data, PIECE_BYTES)
        if plain:
            yield plain
        data = inflating.unconsumed_tail or next(blocks, b"")


def _content(archive: tarfile.TarFile, name: str) -> bytes:
    file = archive.extractfile(name)
    if file is None:
        raise KeyError(name)
    return file.read()


def _target(archive: tarfile.TarFile, name: str) -> tarfile.TarInfo:
    """The file itself: a layer that comes twice is a link the second time."""
    for _ in range(8):
        file = archive.getmember(name)
        if not file.issym():
            return file
        name = posixpath.normpath(posixpath.join(posixpath.dirname(name), file.linkname))
    raise KeyError(name)
