"""Build folders, files and traces -> blobs to upload, named by content. Reads files; not pure.

A folder becomes a tar that depends on nothing but names, contents, the executable bit and links:
sorted, time 0, owner 0, so an unchanged module is never built twice, on whatever laptop. A build
folder is held in memory, which is edited while it is read; weights are read when they are hashed,
and again when they are sent.
"""

from __future__ import annotations

import hashlib
import os
import stat
import tarfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from net.links.traces.codec import encode
from net.links.traces.generate import Recipe, generate
from net.links.traces.trace import Trace
from otter_ctl.errors import PlanError
from otter_ctl.planning import ignore
from otter_ctl.planning.ignore import Ignored
from otter_ctl.planning.model import Blob, Content, Upload
from otter_ctl.topology.model import Topology

CONTEXT_LIMIT = 256 << 20
"""Bytes of a build folder, which is held in memory. Weights belong into the build's own steps."""
WEIGHTS_LIMIT = 8 << 30
"""Bytes of a folder of weights; the agent unpacks no more."""
MAX_DEPTH = 64
"""Folders in folders; the agent unpacks no more."""

_SMALLER = "name in .dockerignore what isn't needed, or fetch large files in the build"
_ELSEWHERE = 'weights may come from "hub:OWNER/NAME" or "package:NAME==VERSION" instead'
_PIECE_BYTES = 256 << 10
_SKIPPED = frozenset({"__pycache__", ".git"})


def collect(topology: Topology) -> dict[Upload, Blob]:
    """Blobs of all build folders, weights and files, by their paths in the topology; of all traces.

    Raises:
        PlanError: Something can't be read, or can't go into a build.
    """
    blobs: dict[Upload, Blob] = {}
    for module in topology.modules:
        where = f"module {module.name}"
        if module.build is not None and module.build not in blobs:
            blobs[module.build] = _guarded(where, module.build, _context_blob)
        for folder in (Path(weights.folder) for weights in module.weights if weights.folder):
            if folder not in blobs:
                blobs[folder] = _weights_blob(where, folder)
        for file in module.files:
            if file.source not in blobs:
                blobs[file.source] = _guarded(where, file.source, _file_blob)
    for use in topology.trace_uses():
        if use.trace not in blobs:
            blobs[use.trace] = _trace_blob(use.trace)
    return blobs


def contents(blobs: Mapping[Upload, Blob]) -> dict[str, Content]:
    """Digest -> a function that gives the content: what the agent's client asks for."""
    return {blob.digest: blob.read for blob in blobs.values()}


def context(folder: Path) -> bytes:
    """The tar of a build folder.

    Raises:
        PlanError: It holds what can't be built from: links that lead out, sockets, too much.
        OSError: It can't be read.
    """
    return b"".join(packed(folder, CONTEXT_LIMIT))


def packed(folder: Path, most: int) -> Iterator[bytes]:
    """The tar of a folder, piece by piece.

    Args:
        folder: Whose.
        most: Bytes that it may have.

    Raises:
        PlanError, OSError: As `context`.
    """
    size = 0
    for path, name in _entries(folder, _ignored(folder)):
        for piece in _member(folder, path, name, most):
            size += len(piece)
            yield piece
        if size > most:
            raise PlanError(str(folder), f"holds more than {_text(most)}", hint=_SMALLER)
    size += 2 * tarfile.BLOCKSIZE
    yield bytes(2 * tarfile.BLOCKSIZE + -size % tarfile.RECORDSIZE)


def _guarded(where: str, path: Path, make: Callable[[Path], Blob]) -> Blob:
    try:
        return make(path)
    except OSError as exc:
        name = exc.filename or path
        raise PlanError(where, f"{name} can't be read: {exc.strerror or exc}") from exc


def _trace_blob(trace: Trace | Recipe) -> Blob:
    """Of what is drawn only the digest is kept: drawn again, it is the same."""
    if isinstance(trace, Trace):
        data = encode(trace)
        return Blob(hashlib.sha256(data).hexdigest(), len(data), lambda: encode(trace))
    data = encode(generate(trace))
    return Blob(hashlib.sha256(data).hexdigest(), len(data), lambda: encode(generate(trace)))


def _context_blob(folder: Path) -> Blob:
    data = context(folder)
    return Blob(hashlib.sha256(data).hexdigest(), len(data), lambda: data)


def _streamed_blob(folder: Path) -> Blob:
    digest, size = hashlib.sha256(), 0
    for piece in packed(folder, WEIGHTS_LIMIT):
        digest.update(piece)
        size += len(piece)
    # Where it has changed when it is sent, the agent refuses it: its digest is another.
    return Blob(digest.hexdigest(), size, lambda: packed(folder, WEIGHTS_LIMIT))


def _weights_blob(where: str, folder: Path) -> Blob:
    try:
        return _guarded(where, folder, _streamed_blob)
    except PlanError as error:
        if error.where == where:
            raise
        hint = _ELSEWHERE if error.hint == _SMALLER else error.hint
        raise PlanError(where, f"weights: {error.where}: {error.reason}", hint=hint) from error


def _file_blob(path: Path) -> Blob:
    """Hashed in pieces and read again only if it is sent: the agent checks the digest."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        status = os.fstat(file.fileno())
    return Blob(digest, status.st_size, path.read_bytes, bool(status.st_mode & stat.S_IXUSR))


def _ignored(folder: Path) -> Ignored:
    """What the folder's own list leaves out."""
    file = folder / ignore.FILE
    if not file.is_file():
        return Ignored()
    return Ignored.parse(file.read_text(encoding="utf-8", errors="replace"))


def _entries(
    folder: Path, ignored: Ignored, prefix: str = "", depth: int = 1
) -> Iterator[tuple[Path, str]]:
    """Everything below that isn't left out, folders before what they hold, by name."""
    for entry in sorted(os.scandir(folder / prefix), key=lambda e: e.name):
        if entry.name in _SKIPPED or entry.name.endswith(".pyc"):
            continue
        name = f"{prefix}{entry.name}"
        is_folder, left_out = entry.is_dir(follow_symlinks=False), ignored(name)
        if left_out and not (is_folder and ignored.takes_back):
            continue
        if depth > MAX_DEPTH:
            reason = f"holds folders over {MAX_DEPTH} deep"
            raise PlanError(str(folder), reason, hint=f"look below {prefix[:80]}")
        if not left_out:
            yield Path(entry.path), name
        below = _entries(folder, ignored, f"{name}/", depth + 1) if is_folder else iter(())
        for first in below:
            if left_out:  # something in it was taken back
                yield Path(entry.path), name
            yield first
            yield from below


def _member(folder: Path, path: Path, name: str, most: int) -> Iterator[bytes]:
    info = tarfile.TarInfo(name)  # time, owner: 0
    status = path.lstat()
    if stat.S_ISDIR(status.st_mode):
        info.type, info.mode = tarfile.DIRTYPE, 0o755
        yield _header(info)
    elif stat.S_ISLNK(status.st_mode):
        info.type, info.mode = tarfile.SYMTYPE, 0o777
        info.linkname = _inner_link(folder, path)
        yield _header(info)
    elif stat.S_ISREG(status.st_mode):
        if status.st_size > most:
            reason = f"{name} alone is larger than {_text(most)}"
            raise PlanError(str(folder), reason, hint=_SMALLER)
        info.mode = 0o755 if status.st_mode & stat.S_IXUSR else 0o644
        yield from _file(info, path)
    else:
        raise PlanError(str(path), "is neither a file nor a folder", hint="remove it")


def _file(info: tarfile.TarInfo, path: Path) -> Iterator[bytes]:
    """Of a small one that is being written, what is there now; a large one has its size."""
    with path.open("rb") as file:
        data = file.read(_PIECE_BYTES)
        size = os.fstat(file.fileno()).st_size
        info.size = left = len(data) if len(data) < _PIECE_BYTES else size
        yield _header(info)
        while left > 0:
            data = data[:left] or bytes(min(left, _PIECE_BYTES))  # it became shorter meanwhile
            yield data
            left -= len(data)
            data = file.read(_PIECE_BYTES)
    yield bytes(-info.size % tarfile.BLOCKSIZE)


def _header(info: tarfile.TarInfo) -> bytes:
    return info.tobuf(tarfile.GNU_FORMAT, "utf-8", "surrogateescape")


def _text(size_bytes: int) -> str:
    return f"{size_bytes >> 30} GiB" if size_bytes >= 1 << 30 else f"{size_bytes >> 20} MiB"


def _inner_link(folder: Path, path: Path) -> str:
    """Where a link leads, if that is relative and inside: anything else would differ elsewhere."""
    target = os.readlink(path)
    inside = os.path.normpath(os.path.join(path.parent.relative_to(folder), target))
    out = os.path.isabs(target) or inside == ".." or inside.startswith("../")
    # What stays inside by its words may still leave by another link on its way.
    if out or not Path(os.path.realpath(path)).is_relative_to(os.path.realpath(folder)):
        raise PlanError(str(path), f"is a link that leads out of the folder, to {target}")
    return target
