"""Copies files between this machine and a module, with the rules of `docker cp`.

    file   → file or new name        becomes that file
    file   → folder                  goes into it
    folder → folder                  goes into it; its content does, if its path ends with `/.`
    folder → new name                becomes that folder

Everything streams. Prints nothing. Must not know: the CLI, the terminal.
"""

from __future__ import annotations

import contextlib
import os
import posixpath
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from net import tars, tars_by_path
from net.handover import read_in_thread, write_in_thread
from net.opening import DIRECTORY, READ_AT_ONCE
from otter_agent import api
from otter_ctl.errors import CopyError
from otter_ctl.meshes import Meshes

OnBytes = Callable[[str, int], None]
CHUNK_BYTES = 1 << 18


@dataclass(slots=True)
class Copier:
    """Copies from and to one module.

    Attributes:
        follow: Copy what a link leads to, not the link.
        on_bytes: Takes (what, bytes so far).
        done_bytes: What has gone over so far.
    """

    client: Meshes
    mesh: str
    module: str
    follow: bool = False
    on_bytes: OnBytes = lambda what, done: None
    done_bytes: int = 0

    # --- out of the module -------------------------------------------------------------------

    async def out(self, source: str, target: str) -> None:
        """Copy `source` of the module to the local path `target`.

        Raises:
            CopyError: There is no such thing, it doesn't fit, or not all could be written.
        """
        found = await self._source(source)
        folder, name = _local_place(target, found, _is_content(source))
        first = posixpath.basename(found.path)
        done = await self._read(
            self.client.pack(self.mesh, self.module, found.path),
            lambda stream: _unpack(stream, folder, (first, name)),
        )
        if done.failed:
            member, why = done.failed[0]
            raise CopyError(target, f"{len(done.failed)} could not be written: {member}: {why}")

    async def out_as_tar(self, source: str, target: BinaryIO) -> None:
        """Write the tar of `source` to a file."""
        found = await self._source(source)
        async for chunk in self._counted(self.client.pack(self.mesh, self.module, found.path)):
            target.write(chunk)
        target.flush()

    async def _source(self, path: str) -> api.PathInfo:
        found = await self._look(path)
        through = self.follow or path.endswith("/") or _is_content(path)
        if found is not None and found.kind == "link" and through:
            found = await self._look(found.target) if found.target else None
        if found is None:
            raise CopyError(f"{self.module}:{path}", "no such file or folder in the module")
        if (path.endswith("/") or _is_content(path)) and found.kind != "folder":
            raise CopyError(f"{self.module}:{path}", "it is no folder")
        if found.kind == "other":
            raise CopyError(f"{self.module}:{path}", "it is neither a file, a folder nor a link")
        return found

    async def _read(
        self, chunks: AsyncIterator[bytes], work: Callable[[BinaryIO], tars.Unpacked]
    ) -> tars.Unpacked:
        try:
            return await read_in_thread(self._counted(chunks), work)
        except tars.BROKEN as exc:
            raise CopyError(self.module, f"what came is no sound tar: {exc}") from exc

    # --- into the module ---------------------------------------------------------------------

    async def into(self, source: str, target: str) -> None:
        """Copy the local `source` to the path `target` in the module.

        Raises:
            CopyError: There is no such thing, it doesn't fit, or not all could be written.
        """
        through = self.follow or source.endswith("/") or _is_content(source)
        path = os.path.realpath(source) if through else os.path.abspath(source)
        if not os.path.lexists(path):
            raise CopyError(source, "no such file or folder")
        is_folder = os.path.isdir(path) and not os.path.islink(path)
        content = _is_content(source)
        if (content or source.endswith("/")) and not is_folder:
            raise CopyError(source, "it is no folder")
        folder, name = await self._place(target, path, is_folder=is_folder, content=content)

        def pack() -> Iterator[bytes]:
            above, last = os.path.split(path)
            yield from _pack(path if content else above or "/", "." if content else last, name)
            yield tars.END

        await self._send(folder, write_in_thread(pack))

    async def into_as_tar(self, source: BinaryIO, target: str) -> None:
        """Write the members of a tar below the folder `target` in the module."""

        def read() -> Iterator[bytes]:
            while chunk := source.read(CHUNK_BYTES):
                yield chunk

        found = await self._follow(target)
        if found is None or found.kind != "folder":
            raise CopyError(f"{self.module}:{target}", "there is no such folder in the module")
        await self._send(found.path, write_in_thread(read))

    async def _send(self, folder: str, chunks: AsyncIterator[bytes]) -> None:
        done = await self.client.unpack(self.mesh, self.module, folder, self._counted(chunks))
        if done.failed:
            why = f"{len(done.failed)} could not be written: {done.failed[0]}"
            raise CopyError(f"{self.module}:{folder}", why)

    async def _place(
        self, target: str, source: str, *, is_folder: bool, content: bool
    ) -> tuple[str, str]:
        """The folder in the module to unpack in, and the name that the copy gets there."""
        where = f"{self.module}:{target}"
        found = await self._follow(target)
        if found is not None and found.kind == "folder":
            return found.path, "." if content else os.path.basename(source)
        if found is not None:
            if is_folder or target.endswith("/"):
                raise CopyError(where, "it is no folder")
            return posixpath.dirname(found.path), posixpath.basename(found.path)
        above, name = posixpath.split(target.rstrip("/"))
        above = above or ("/" if target.startswith("/") else ".")
        there = await self._follow(above)
        if there is None or there.kind != "folder" or (target.endswith("/") and not is_folder):
            raise CopyError(where, "there is no such folder in the module")
        return there.path, name

    async def _follow(self, path: str) -> api.PathInfo | None:
        found = await self._look(path)
        if found is not None and found.kind == "link":
            return await self._look(found.target) if found.target else None
        return found

    async def _look(self, path: str) -> api.PathInfo | None:
        return await self.client.stat(self.mesh, self.module, path)

    async def _counted(self, chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        async for chunk in chunks:
            self.done_bytes += len(chunk)
            self.on_bytes(self.module, self.done_bytes)
            yield chunk


def _is_content(path: str) -> bool:
    return path == "." or path.endswith("/.")


def _local_place(target: str, found: api.PathInfo, content: bool) -> tuple[str, str]:
    """The local folder to unpack in, and the name that the copy gets there; "": its content."""
    path = os.path.abspath(target)
    if os.path.isdir(path):
        return path, "" if content else posixpath.basename(found.path)
    above, name = os.path.split(path)
    if os.path.lexists(path) and found.kind == "folder":
        raise CopyError(target, "it is no folder")
    if target.endswith("/") and found.kind != "folder":
        raise CopyError(target, "there is no such folder")
    if not os.path.isdir(above):
        raise CopyError(above, "there is no such folder")
    return above, name


def _pack(folder: str, name: str, member: str) -> Iterator[bytes]:
    if not tars.BY_DESCRIPTOR:
        yield from tars_by_path.pack(Path(folder), name, member)
        return
    with _open(folder) as fd:
        yield from tars.pack(fd, name, member)


def _unpack(stream: BinaryIO, folder: str, rename: tuple[str, str]) -> tars.Unpacked:
    if not tars.BY_DESCRIPTOR:
        return tars_by_path.unpack(stream, Path(folder), rename)
    with _open(folder) as fd:
        return tars.unpack(stream, fd, rename)


@contextlib.contextmanager
def _open(folder: str) -> Iterator[int]:
    try:
        fd = os.open(folder, READ_AT_ONCE | DIRECTORY)
    except OSError as exc:
        raise CopyError(folder, exc.strerror or str(exc)) from exc
    try:
        yield fd
    finally:
        os.close(fd)
