"""This very OTTER as a wheel: what runs here is what a machine gets, installed or a checkout.

The wheel is made of the files of the packages as they lie here, so nothing is built and no index is
asked. Its build is a digest of its sources: two checkouts of one version are two builds, and one
checkout is the same on each computer, whatever compilers and installers have made of it there. Pure
but for reading files.
"""

from __future__ import annotations

import base64
import hashlib
import io
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib.metadata import Distribution, distribution
from pathlib import Path

NAME = "otter-mesh"
PACKAGES = ("modules", "net", "otter_agent", "otter_ctl")
_EPOCH = (1980, 1, 1, 0, 0, 0)
_COMPILED = (".so", ".pyd")
"""Made of sources that are there too, and not on every computer."""
_WHEEL = "Wheel-Version: 1.0\nGenerator: otterctl\nRoot-Is-Purelib: true\nTag: py3-none-any\n"


@dataclass(frozen=True, slots=True)
class Wheel:
    """A wheel in memory.

    Attributes:
        version: Of the distribution.
        build: Digest of its sources, short.
        file_name: As pip wants it.
    """

    version: str
    build: str
    file_name: str
    content: bytes

    @property
    def release(self) -> str:
        """Version and build: the name of its folder below /opt/otter."""
        return f"{self.version}-{self.build}"


@cache
def own_wheel() -> Wheel:
    """Of the OTTER that runs here."""
    found = distribution(NAME)
    files = dict(_package_files(Path(__file__).resolve().parents[2]))
    build = _digest(files, requirements("agent"))
    folder = f"otter_mesh-{found.version}.dist-info"
    files[f"{folder}/METADATA"] = _metadata(found).encode()
    files[f"{folder}/WHEEL"] = _WHEEL.encode()
    files[f"{folder}/entry_points.txt"] = _entry_points(found).encode()
    files[f"{folder}/BUILD"] = f"{build}\n".encode()
    content = _packed(files, f"{folder}/RECORD")
    return Wheel(found.version, build, f"otter_mesh-{found.version}-py3-none-any.whl", content)


def requirements(extra: str) -> list[str]:
    """What an extra of this version requires, itself included, in pip's words."""
    found = distribution(NAME)
    wanted = []
    for line in found.requires or []:
        words, _, marker = line.partition(";")
        if not marker or f'extra == "{extra}"' in marker.replace("'", '"'):
            wanted.append(words.strip())
    return wanted


def _package_files(root: Path) -> Iterator[tuple[str, bytes]]:
    for package in PACKAGES:
        for path in sorted((root / package).rglob("*")):
            if path.is_file() and "__pycache__" not in path.parts and path.suffix != ".pyc":
                yield path.relative_to(root).as_posix(), path.read_bytes()


def _metadata(found: Distribution) -> str:
    return found.read_text("METADATA") or found.read_text("PKG-INFO") or ""


def _entry_points(found: Distribution) -> str:
    lines = [f"{e.name} = {e.value}" for e in found.entry_points if e.group == "console_scripts"]
    return "\n".join(["[console_scripts]", *sorted(lines)]) + "\n"


def _digest(files: dict[str, bytes], required: list[str]) -> str:
    whole = hashlib.sha256("\n".join(sorted(required)).encode())
    for name, content in sorted(files.items()):
        if name.endswith(_COMPILED):
            continue
        whole.update(f"{name}\0{len(content)}\0".encode())
        whole.update(content)
    return whole.hexdigest()[:8]


def _packed(files: dict[str, bytes], record: str) -> bytes:
    lines = []
    memory = io.BytesIO()
    with zipfile.ZipFile(memory, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in sorted(files.items()):
            digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=")
            lines.append(f"{name},sha256={digest.decode()},{len(content)}\n")
            archive.writestr(_entry(name), content)
        lines.append(f"{record},,\n")
        archive.writestr(_entry(record), "".join(lines))
    return memory.getvalue()


def _entry(name: str) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(name, _EPOCH)
    entry.external_attr = 0o644 << 16
    entry.compress_type = zipfile.ZIP_DEFLATED
    return entry
