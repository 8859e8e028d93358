"""An interpreter that is brought along to a machine that has none which is new enough.

    python/bin/python3.12    what such an archive has to have, as a `.tar.gz`: the form of
    python/lib/python3.12/   python-build-standalone's "install_only"; whatever finds its library
                             beside itself, wherever it is unpacked, will do

Must not know: how it gets there.
"""

from __future__ import annotations

import hashlib
import re
import struct
import tarfile
import zlib
from dataclasses import dataclass
from pathlib import Path

from otter_ctl.errors import RemoteError
from otter_ctl.machine.facts import OLDEST_PYTHON, Facts, Python
from otter_ctl.machine.steps import TOP

_PROGRAM = re.compile(r"python/bin/python3\.(\d{1,3})")
_MACHINES = {0x3E: "x86_64", 0xB7: "aarch64", 0x28: "armv7l", 0xF3: "riscv64", 0x15: "ppc64le"}
"""Of ELF's header: elf(5), e_machine."""
_HEADER_BYTES = 20
_HINT = "take an archive of python-build-standalone whose name ends in install_only.tar.gz"
_GROWS = 5
"""How much larger than its archive it is on a disk, with what Python compiles."""


@dataclass(frozen=True, slots=True)
class Brought:
    """One of them.

    Attributes:
        archive: The file, here.
        python: What it is over there.
        folder: Where it will be there: another archive is another folder, so what runs from an
            earlier one goes on.
        digest: SHA-256 of the archive.
    """

    archive: Path
    python: Python
    folder: str
    digest: str

    @property
    def room_bytes(self) -> int:
        """What it takes over there, about, with its archive, of which root has a copy meanwhile."""
        return (_GROWS + 1) * self.archive.stat().st_size


def brought(machine: str, facts: Facts, archive: Path) -> Brought:
    """What an archive has for a machine.

    Args:
        machine: Its name.
        facts: What it is.
        archive: The file.

    Raises:
        RemoteError: It is none, or for other processors, or too old.
    """
    try:
        minor, header = _program(archive)
        with archive.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except (OSError, tarfile.TarError, EOFError, zlib.error) as error:
        raise RemoteError(machine, f"{archive}: can't be read: {error}", hint=_HINT) from error
    if minor < 0:
        why = f"{archive}: there is no python/bin/python3.N in it"
        raise RemoteError(machine, why, hint=_HINT)
    if (3, minor) < OLDEST_PYTHON:
        oldest = ".".join(map(str, OLDEST_PYTHON))
        raise RemoteError(machine, f"{archive}: Python 3.{minor} is older than {oldest}")
    arch = _arch(header)
    if arch != facts.arch:
        kind = arch or "no processors that are known"
        raise RemoteError(machine, f"{archive}: is for {kind}, the machine is {facts.arch}")
    folder = f"{TOP}/python/{digest[:12]}"
    python = Python(f"{folder}/bin/python3.{minor}", (3, minor), f"linux-{arch}", venv=True)
    return Brought(archive, python, folder, digest)


def _program(archive: Path) -> tuple[int, bytes]:
    """Its minor version and how it begins; -1: there is none."""
    with tarfile.open(archive, "r:gz") as entries:
        for entry in entries:
            found = _PROGRAM.fullmatch(entry.name)
            file = entries.extractfile(entry) if found and entry.isreg() else None
            if found and file is not None:
                return int(found[1]), file.read(_HEADER_BYTES)
    return -1, b""


def _arch(header: bytes) -> str:
    """The processors that a program is for, in the words of `uname -m`; empty: unknown."""
    if len(header) < _HEADER_BYTES or not header.startswith(b"\x7fELF"):
        return ""
    order = "<" if header[5] == 1 else ">"
    return _MACHINES.get(struct.unpack_from(f"{order}H", header, 18)[0], "")
