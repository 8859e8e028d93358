"""The build context of a module image: its folder, and wheels so that a build needs no internet.

    FOLDER/…                   as uploaded
    .otter/wheels              of requirements.txt, without what the base has
    .otter/prepare-wheels      of requirements-prepare.txt
    .otter/module, .otter/prepare, Dockerfile    only if the folder has no Dockerfile

Must not know: Docker's API.
"""

from __future__ import annotations

import shutil
import tarfile
from pathlib import Path

from otter_agent.images.bases import FOLDER
from otter_agent.images.environments import NOT_FOR_PREPARE
from otter_agent.images.wheelhouse import requirements_of

DEFAULT_DOCKERFILE = FOLDER / "Dockerfile.module"
EXTRA = ".otter"


def wanted(folder: Path, name: str) -> list[str]:
    """The requirements that a file of the module folder names; none without the file."""
    file = folder / name
    return requirements_of(file.read_text()) if file.is_file() else []


def complete(folder: Path, wheels: Path, prepare_wheels: Path) -> None:
    """Add to an unpacked module folder what its build needs.

    Args:
        folder: The module folder; it is changed.
        wheels: Folder with the wheels of requirements.txt.
        prepare_wheels: Folder with those of requirements-prepare.txt.
    """
    extra = folder / EXTRA
    shutil.rmtree(extra, ignore_errors=True)
    if not (folder / "Dockerfile").is_file():
        _default(folder, extra)
    for source, name in ((wheels, "wheels"), (prepare_wheels, "prepare-wheels")):
        shutil.copytree(source, extra / name, copy_function=_link)
    ignored = folder / ".dockerignore"
    if ignored.is_file():
        lines = f"{ignored.read_text()}\n!{EXTRA}\n"
        ignored.unlink()  # unpacked files are read-only
        ignored.write_text(lines)


def _default(folder: Path, extra: Path) -> None:
    names = [path.name for path in folder.iterdir()]
    for part in ("module", "prepare"):
        (extra / part).mkdir(parents=True)
    for name in names:
        _copy(folder / name, extra / "module" / name)
        if name not in NOT_FOR_PREPARE:
            _copy(folder / name, extra / "prepare" / name)
    shutil.copyfile(DEFAULT_DOCKERFILE, folder / "Dockerfile")


def _copy(source: Path, target: Path) -> None:
    if source.is_dir() and not source.is_symlink():
        shutil.copytree(source, target, symlinks=True)
    else:
        shutil.copy2(source, target, follow_symlinks=False)


def _link(source: str, target: str) -> None:
    """A second name instead of a copy, where that is possible."""
    try:
        Path(target).hardlink_to(source)
    except OSError:
        shutil.copyfile(source, target)


def pack(folder: Path, target: Path) -> None:
    """Write a tar of `folder`: owners, times and modes of this machine are not in it.

    Docker's cache compares contents, so the same folder hits it wherever it was unpacked.
    """

    def plain(entry: tarfile.TarInfo) -> tarfile.TarInfo:
        entry.uid = entry.gid = 0
        entry.uname = entry.gname = ""
        entry.mtime = 0
        entry.mode = 0o755 if entry.isdir() or entry.mode & 0o100 else 0o644
        return entry

    with tarfile.open(target, "w", dereference=False) as archive:
        for path in sorted(folder.iterdir()):
            archive.add(path, path.name, filter=plain)
