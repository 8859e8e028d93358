"""Work folders that hold so much and no more: a file system of that size in their place.

    work.img (ext4, a file with holes) ─ loop device ─► work/        where there are loop devices
                                        a tmpfs      ─► work/        else: in the machine's memory

A module that fills it is told that its disk is full; the machine's isn't. The loop device goes with
the mount, so nothing is left but the mount itself, which whoever removes the folder undoes: also an
agent that finds it after another was killed. Blocking. Must not know: meshes, budgets.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from contextlib import suppress
from pathlib import Path

from otter_agent.errors import StorageError
from otter_agent.layout import ModulePaths

_LIMIT_S = 60.0
_MOST = 4
"""Mounts on top of each other: one, or two where an agent was killed in the middle."""
_LOOPS = "/dev/loop-control"


def make(paths: ModulePaths, size_bytes: int, *, contained: bool) -> None:
    """Mount an empty file system of that size as the work folder, which is empty.

    Args:
        paths: The module's.
        size_bytes: It has.
        contained: It is shown to a container, which may be a file system in memory as well; what
            a process is shown it mounts itself, from the loop device.

    Raises:
        StorageError: It can't be had.
    """
    if loops():
        _image(paths.volume, size_bytes)
        _mount(paths.work, "-o", "loop,nosuid,nodev", "-t", "ext4", str(paths.volume))
        with suppress(OSError):
            (paths.work / "lost+found").rmdir()
    elif not contained:
        why = "no loop device, or no mkfs.ext4, or no root: a process can't have `storage` here"
        hint = "install e2fsprogs, run the agent as root, or ask for no storage"
        raise StorageError(paths.work, why, hint=hint)
    else:
        _mount(paths.work, "-o", f"nosuid,nodev,size={size_bytes}", "-t", "tmpfs", "otter")
    paths.work.chmod(0o777)  # as the folder below: an image's own user must be able to write


def again(paths: ModulePaths) -> bool:
    """Mount what was made before if it isn't: after a reboot.

    Returns:
        Whether it is there: one in memory is gone then, with all that was in it.

    Raises:
        StorageError: It can't be had.
    """
    if is_mounted(paths.work):
        return True
    if not paths.volume.exists():
        return False
    _mount(paths.work, "-o", "loop,nosuid,nodev", "-t", "ext4", str(paths.volume))
    return True


def loops() -> bool:
    """Whether file systems in files can be made here; else they are in memory."""
    if shutil.which("mkfs.ext4") is None or os.geteuid() != 0:
        return False
    try:
        os.close(os.open(_LOOPS, os.O_RDWR | os.O_CLOEXEC))
    except OSError:
        return False
    return True


def held(paths: ModulePaths) -> int | None:
    """What the work folder may hold, all told; None: no such limit is in force.

    Of a file it is the file's size: the file system in it takes a little of that for itself.
    """
    if not is_mounted(paths.work):
        return None
    with suppress(OSError):
        return paths.volume.stat().st_size
    try:
        told = os.statvfs(paths.work)
    except OSError:
        return None
    return told.f_blocks * told.f_frsize


def is_mounted(folder: Path) -> bool:
    """Whether a file system of its own is there.

    A link isn't: a module may have put it there, and what is mounted where that leads isn't ours.
    """
    try:
        return os.lstat(folder).st_dev != os.stat(folder.parent).st_dev
    except OSError:
        return False


def unmount(folder: Path) -> None:
    """Undo what is mounted there; nothing is fine. Looked for first: that costs next to nothing."""
    for _ in range(_MOST):
        if not is_mounted(folder):
            return
        # Lazily: somebody may be looking at it just now, and goes soon.
        subprocess.run(
            ["umount", "-l", "--", str(folder)], check=False, stderr=subprocess.DEVNULL,
            stdin=subprocess.DEVNULL,
        )  # fmt: skip


def _image(path: Path, size_bytes: int) -> None:
    """A file with holes: it takes as much of the disk as is written into it."""
    path.unlink(missing_ok=True)
    try:
        with path.open("wb") as file:
            os.truncate(file.fileno(), size_bytes)
    except OSError as error:
        raise StorageError(path, f"{error.strerror or error}") from error
    _run(path, "mkfs.ext4", "-q", "-F", "-m", "0", "-O", "^has_journal", str(path))


def _mount(folder: Path, *how: str) -> None:
    _run(folder, "mount", *how, str(folder))


def _run(path: Path, *argv: str) -> None:
    try:
        done = subprocess.run(
            argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=_LIMIT_S,
            check=False,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError) as error:
        raise StorageError(path, str(error)) from error
    if done.returncode:
        said = done.stderr.strip().splitlines()[-1:] or [f"ended with {done.returncode}"]
        raise StorageError(path, f"{argv[0]}: {said[0]}")
