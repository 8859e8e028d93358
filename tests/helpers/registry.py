"""Stand-ins for images of a registry, made of what this machine has: none can be pulled here.

They carry the names that the Dockerfiles of topologies/foreign say, and hold what these need of
them; so the Dockerfiles are built as users build them. Must not know: OTTER.
"""

from __future__ import annotations

import io
import subprocess
import tarfile
from pathlib import Path

_PROGRAMS = ("gcc", "cc1", "as", "ld", "collect2", "lto-wrapper")
_FILES = "crt1.o crti.o crtn.o crtbeginT.o crtend.o libc.a libgcc.a libgcc_eh.a liblto_plugin.so"
_HEADERS = ("libc6-dev", "linux-libc-dev")


def gcc_root() -> bytes:
    """A root with this machine's C compiler, good for static programs; it has no shell."""
    programs = [_found("prog", name) for name in _PROGRAMS]
    files = {*programs, *(_found("file", name) for name in _FILES.split())}
    files.update(Path(word) for word in _said("ldd", *programs).split() if word.startswith("/lib"))
    listed = _said("dpkg", "-L", *_HEADERS).split("\n")
    files.update(p for p in map(Path, listed) if p.suffix == ".h" and p.is_file())
    files.add(_found("file", "include"))
    return _tar(files)


def folder_tar(folder: Path) -> bytes:
    """A build context."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        archive.add(folder, ".")
    return buffer.getvalue()


def _tar(files: set[Path]) -> bytes:
    """A tar of these, where they are here; links are followed."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", dereference=True) as archive:
        for path in sorted(files):
            archive.add(path, path.relative_to("/"))
    return buffer.getvalue()


def _found(kind: str, name: str) -> Path:
    """Where the compiler has one of its parts."""
    found = Path(_said("gcc", f"-print-{kind}-name={name}"))
    return found.resolve() if found.is_absolute() else Path("/usr/bin") / found


def _said(*argv: object) -> str:
    return subprocess.run(
        [*map(str, argv)], capture_output=True, text=True, check=True
    ).stdout.strip()
