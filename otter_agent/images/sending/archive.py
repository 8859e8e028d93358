"""What `docker load` is given: an image of which only some layers are there.

    CONFIG.json     its configuration, byte for byte: its SHA-256 is the image's id
    DIFF-ID.tar     a layer that the engine lacks; those that it has are left out
    manifest.json   which is which, and the image's name

The classic store looks for each layer by its chain first, and opens a file only if it has none:
tried with Docker 20.10, and so in the source of 28. Must not know: engines, where layers come from.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import tarfile
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path

_BLOCK = 1 << 20


async def archive(
    config: bytes, reference: str, diff_ids: Sequence[str], files: Mapping[str, Path]
) -> AsyncIterator[bytes]:
    """The archive, as it is made.

    Args:
        config: The image's.
        reference: Its name.
        diff_ids: All of its layers.
        files: Digest of a layer -> its tar, of those to be in it.
    """
    names = {diff_id: f"{diff_id.removeprefix('sha256:')}.tar" for diff_id in diff_ids}
    name = f"{hashlib.sha256(config).hexdigest()}.json"
    yield _small(name, config)
    for diff_id, file in files.items():
        size = file.stat().st_size
        yield _head(names[diff_id], size)
        with await asyncio.to_thread(file.open, "rb") as source:
            while block := await asyncio.to_thread(source.read, _BLOCK):
                yield block
        yield bytes(-size % tarfile.BLOCKSIZE)
    image = {"Config": name, "RepoTags": [reference], "Layers": [names[d] for d in diff_ids]}
    yield _small("manifest.json", json.dumps([image]).encode())
    yield bytes(2 * tarfile.BLOCKSIZE)


def _head(name: str, size: int) -> bytes:
    entry = tarfile.TarInfo(name)
    entry.size = size
    return entry.tobuf(tarfile.GNU_FORMAT)


def _small(name: str, data: bytes) -> bytes:
    return _head(name, len(data)) + data + bytes(-len(data) % tarfile.BLOCKSIZE)
