"""Layers on their way into an engine, by the SHA-256 of their tar.

    HEX.part   as far as it has come: what a cut leaves, and where the next try goes on
    HEX        whole, and what its name says

Must not know: how they come, engines.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from otter_agent.api.parcels import ParcelError, Unpacker
from otter_agent.errors import AgentError
from otter_agent.images.locks import Locks
from otter_agent.images.steps import to_end

_PART = ".part"
_KEPT_S = 7 * 86400.0
"""What nobody has gone on with for so long is given up."""
SPARE_BYTES, SPARE_RATIO = 64 << 20, 0.01
"""Of the disk, the less of both: stays free, as a sender can send what has no end. The agent's own
state is on that disk, too."""
_DISK_HINT = "free some space there, e.g. with `otterctl image prune`, and apply again"


class Staging:
    """Layers in a folder.

    Args:
        folder: Made when it is first needed.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._locks = Locks()
        self._hashes: dict[str, tuple[int, Any]] = {}
        """Digits -> how much of its part has been hashed, and the hash."""

    def path(self, digits: str) -> Path:
        """Where a layer is once it is whole."""
        return self.folder / digits

    def offset(self, digits: str) -> int | None:
        """How many bytes of it are here; None: all."""
        if self.path(digits).exists():
            return None
        part = self._part(digits)
        return part.stat().st_size if part.exists() else 0

    async def take(self, digits: str, start: int, chunks: AsyncIterator[bytes]) -> None:
        """Take a layer from byte `start` on, in parcels.

        Raises:
            AgentError: `changed`: `start` isn't where it stands; `corrupt`: what came isn't the
                layer; `cut`: it isn't all; `no-space`.

        Cancellation: what has come stays.
        """
        async with self._locks.hold(digits):
            stands = self.offset(digits)
            if stands is None:
                return
            if stands != start:
                raise AgentError("changed", f"layer {digits[:12]} stands at {stands}, not {start}")
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            try:
                await self._append(digits, chunks)
            except FileNotFoundError as error:  # somebody prunes
                raise AgentError("changed", f"layer {digits[:12]} was removed meanwhile") from error
            except OSError as error:
                self._drop_part(digits)
                if error.errno in (errno.ENOSPC, errno.EDQUOT):
                    text = f"the disk that holds {self.folder} is full"
                    raise AgentError("no-space", text, hint=_DISK_HINT) from error
                raise AgentError("failed", f"{self.folder}: {error.strerror}") from error

    async def _append(self, digits: str, chunks: AsyncIterator[bytes]) -> None:
        part, unpacker = self._part(digits), Unpacker()
        hashed = await to_end(self._hashed, digits)

        def write(chunk: bytes) -> None:
            for piece in unpacker.feed(chunk):
                self._spare_some()
                file.write(piece)
                hashed.update(piece)

        with part.open("ab") as file:
            try:
                async for chunk in chunks:
                    await to_end(write, chunk)
            except ParcelError as error:
                self._drop_part(digits)
                raise _corrupt(digits, str(error)) from error
            finally:
                self._hashes[digits] = (file.tell(), hashed)
        if not unpacker.ended:
            raise AgentError("cut", f"layer {digits[:12]}: the connection ended before the layer")
        if hashed.hexdigest() != digits:
            self._drop_part(digits)
            raise _corrupt(digits, "its content has another digest")
        self._hashes.pop(digits, None)
        part.rename(self.path(digits))

    def _spare_some(self) -> None:
        status = os.statvfs(self.folder)
        spare = min(SPARE_BYTES, status.f_blocks * status.f_frsize * SPARE_RATIO)
        if status.f_bavail * status.f_frsize < spare:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def _hashed(self, digits: str) -> Any:
        """The hash of what is here of a layer. Blocking."""
        part = self._part(digits)
        size, known = self._hashes.pop(digits, (0, None))
        if known is not None and part.exists() and part.stat().st_size == size:
            return known
        hashed = hashlib.sha256()
        left = part.stat().st_size if part.exists() else 0
        if left:
            with part.open("rb") as file:
                while left and (block := file.read(min(left, 1 << 20))):
                    left -= len(block)
                    hashed.update(block)
        return hashed

    def drop(self, *digits: str) -> None:
        """Layers that the engine has by now."""
        for one in digits:
            self.path(one).unlink(missing_ok=True)

    def sweep(self, older_s: float = _KEPT_S) -> int:
        """Drop what nobody has touched for so long; how many bytes that were."""
        freed, limit = 0, time.time() - older_s
        for path in self.folder.iterdir() if self.folder.is_dir() else ():
            with contextlib.suppress(OSError):
                status = path.stat()
                if status.st_mtime <= limit:
                    path.unlink()
                    freed += status.st_size
        return freed

    def held_bytes(self) -> int:
        """What all of it holds."""
        held = 0
        for path in self.folder.iterdir() if self.folder.is_dir() else ():
            with contextlib.suppress(FileNotFoundError):  # it has come whole, or was taken
                held += path.stat().st_size
        return held

    def check_room(self, what: str, to_come: int, to_unpack: int, engine: Path) -> None:
        """Refuse what can't fit anyway.

        Args:
            what: Names it.
            to_come: Bytes that will be kept here.
            to_unpack: Bytes that the engine will write.
            engine: Its folder, which may not be seen from here.

        Raises:
            AgentError: `no-space`.
        """
        wanted = {_existing(self.folder): to_come}
        if engine.is_dir():
            wanted[engine] = wanted.get(engine, 0) + to_unpack
        by_disk: dict[int, tuple[Path, int]] = {}
        for folder, size in wanted.items():
            _, before = by_disk.get(folder.stat().st_dev, (folder, 0))
            by_disk[folder.stat().st_dev] = folder, before + size
        for folder, size in by_disk.values():
            status = os.statvfs(folder)
            free = status.f_bavail * status.f_frsize
            if size > free:
                text = f"{what} needs {_about(size)} in {folder}, where {_about(free)} are free"
                raise AgentError("no-space", text, hint=_DISK_HINT)

    def _part(self, digits: str) -> Path:
        return self.folder / f"{digits}{_PART}"

    def _drop_part(self, digits: str) -> None:
        self._hashes.pop(digits, None)
        self._part(digits).unlink(missing_ok=True)


def _existing(folder: Path) -> Path:
    """The folder, or the nearest above it that is there."""
    return next(f for f in (folder, *folder.parents) if f.is_dir())


def _about(size: int) -> str:
    return f"{size / 1e6:.3g} MB" if size < 1e9 else f"{size / 1e9:.3g} GB"


def _corrupt(digits: str, why: str) -> AgentError:
    return AgentError(
        "corrupt",
        f"layer {digits[:12]} did not come as it was sent: {why}",
        hint="apply again; if it stays so, the sender's disk or memory is damaged",
    )
