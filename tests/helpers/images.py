"""Tiny images for tests, made in memory: a busybox root in seconds, and one with a single file."""

from __future__ import annotations

import io
import shutil
import subprocess
import tarfile
from functools import cache
from pathlib import Path

_PASSWD = b"root:x:0:0::/root:/bin/sh\nnobody:x:65534:65534::/:/bin/sh\n"


@cache
def static_busybox() -> Path | None:
    """A busybox that needs no libraries (Debian's busybox-static)."""
    found = shutil.which("busybox")
    if found is None:
        return None
    needs = subprocess.run(["ldd", found], capture_output=True, text=True, check=False)
    return Path(found) if "=>" not in needs.stdout else None


@cache
def busybox_root() -> bytes:
    """Tar of a root with busybox, its applets as links, and the user nobody."""
    busybox = static_busybox()
    assert busybox is not None
    applets = subprocess.run([busybox, "--list"], capture_output=True, text=True, check=True)
    names = sorted(set(applets.stdout.split()) - {"busybox"})
    files = {"bin/busybox": busybox.read_bytes(), "etc/passwd": _PASSWD}
    return tar(files, links={f"bin/{name}": "busybox" for name in names}, folders=["tmp", "root"])


@cache
def scratch_root() -> bytes:
    """Tar with one static program and nothing else: `/busybox`."""
    busybox = static_busybox()
    assert busybox is not None
    return tar({"busybox": busybox.read_bytes()})


def tar(
    files: dict[str, bytes],
    *,
    links: dict[str, str] | None = None,
    folders: list[str] | None = None,
) -> bytes:
    """A tar with these entries, all executable."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name in folders or []:
            entry = tarfile.TarInfo(name)
            entry.type, entry.mode = tarfile.DIRTYPE, 0o777
            archive.addfile(entry)
        for name, data in files.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(data), 0o755
            archive.addfile(entry, io.BytesIO(data))
        for name, target in (links or {}).items():
            entry = tarfile.TarInfo(name)
            entry.type, entry.linkname = tarfile.SYMTYPE, target
            archive.addfile(entry)
    return buffer.getvalue()
