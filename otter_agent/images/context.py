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
from dataclasses import dataclass
from pathlib import Path

from otter_agent.images.bases import FOLDER
from otter_agent.images.prepared import unseen
from otter_agent.images.wheelhouse import requirements_of

DEFAULT_DOCKERFILE = FOLDER / "Dockerfile.module"
EXTRA = ".otter"


@dataclass(frozen=True, slots=True)
class Needs:
    """What a module folder takes of OTTER's. A Dockerfile that names none of it is built as it is.

    Attributes:
        base: It is built on the shared base (`OTTER_BASE`).
        wheels: It installs the wheels in `.otter`.
    """

    base: bool
    wheels: bool

    @classmethod
    def of(cls, folder: Path) -> Needs:
        """By its Dockerfile; without one it is built by ours, which takes both."""
        text = _text(folder, "Dockerfile")
        return cls(text is None or "OTTER_BASE" in text, text is None or EXTRA in text)


def wanted(folder: Path, name: str) -> list[str]:
    """The requirements that a file of the module folder names; none without the file."""
    text = _text(folder, name)
    return [] if text is None else requirements_of(text)


def complete(folder: Path, wheels: Path, prepare_wheels: Path) -> None:
    """Add to an unpacked module folder what its build needs.

    Args:
        folder: The module folder; it is changed.
        wheels: Folder with the wheels of requirements.txt.
        prepare_wheels: Folder with those of requirements-prepare.txt.
    """
    extra = folder / EXTRA
    if extra.is_symlink() or extra.is_file():
        extra.unlink()
    shutil.rmtree(extra, ignore_errors=True)
    if not (folder / "Dockerfile").is_file():
        _default(folder, extra)
    for source, name in ((wheels, "wheels"), (prepare_wheels, "prepare-wheels")):
        shutil.copytree(source, extra / name, copy_function=_link)
    text = _text(folder, ".dockerignore")
    if text is not None:
        ignored = folder / ".dockerignore"
        ignored.unlink()  # unpacked files are read-only; and a link is not written through
        ignored.write_text(f"{text}\n!{EXTRA}\n", encoding="utf-8")


def _text(folder: Path, name: str) -> str | None:
    """What a file of the folder says; None if it isn't there or is a link that leads out.

    Unpacking refuses such links already; these files are what the agent itself reads. Bytes that
    aren't UTF-8 are replaced: they are the module's mistake, and its build will tell.
    """
    try:
        file = (folder / name).resolve()
    except RuntimeError:  # a loop of links; 3.13 says OSError
        return None
    if not file.is_relative_to(folder.resolve()) or not file.is_file():
        return None
    return file.read_text(encoding="utf-8", errors="replace")


def _default(folder: Path, extra: Path) -> None:
    names = [path.name for path in folder.iterdir()]
    left_out = unseen(folder)
    for part in ("module", "prepare"):
        (extra / part).mkdir(parents=True)
    for name in names:
        _copy(folder / name, extra / "module" / name)
        if name not in left_out:
            _copy(folder / name, extra / "prepare" / name)
    dockerfile = folder / "Dockerfile"
    if dockerfile.is_symlink():  # to nothing: it would be written through
        dockerfile.unlink()
    shutil.copyfile(DEFAULT_DOCKERFILE, dockerfile)


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
