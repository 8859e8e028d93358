"""Module folders and file trees for tests."""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path


def write_tree(folder: Path, files: Mapping[str, str]) -> Path:
    """Write `files` (relative name -> text) into `folder`, which is returned."""
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


def tree(folder: Path) -> set[str]:
    """Relative names of everything in a folder."""
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


@contextlib.contextmanager
def small_disk(folder: Path, megabytes: int) -> Iterator[Path]:
    """A file system of that size (needs root)."""
    folder.mkdir()
    subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(folder)], check=True
    )
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


async def signalled(fifo: Path, deadline_s: float = 120) -> bytes:
    """Wait until somebody writes to the FIFO; returns what."""
    loop = asyncio.get_running_loop()
    fd = os.open(fifo, os.O_RDWR | os.O_NONBLOCK)
    there = asyncio.Event()
    loop.add_reader(fd, there.set)
    try:
        async with asyncio.timeout(deadline_s):
            await there.wait()
        return os.read(fd, 4096)
    finally:
        loop.remove_reader(fd)
        os.close(fd)


async def gone(pid: int, deadline_s: float = 10) -> None:
    """Wait until a process that isn't our child has ended (init may take its time to reap it)."""
    async with asyncio.timeout(deadline_s):
        try:
            fd = os.pidfd_open(pid)
        except ProcessLookupError:
            return
        loop, ended = asyncio.get_running_loop(), asyncio.Event()
        loop.add_reader(fd, ended.set)  # readable when it has ended, reaped or not
        try:
            await ended.wait()
        finally:
            loop.remove_reader(fd)
            os.close(fd)


def can_mount() -> bool:
    """Whether `small_disk` works here."""
    return os.geteuid() == 0
