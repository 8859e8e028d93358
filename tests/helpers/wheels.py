"""Tiny Python packages made in memory, and a package index of their own: no network in tests.

Standard library only: build backends import this too.
"""

from __future__ import annotations

import io
import tarfile
import zipfile
from collections.abc import Sequence
from pathlib import Path


def make_wheel(
    folder: Path, name: str, version: str = "1.0", requires: Sequence[str] = (), body: str = "",
    extras: Sequence[str] = (),
) -> Path:  # fmt: skip
    """A wheel with one module, `NAME.py`, that has `version` and `body`."""
    folder.mkdir(parents=True, exist_ok=True)
    info = f"{name}-{version}.dist-info"
    needs = "".join(f"Provides-Extra: {extra}\n" for extra in extras)
    needs += "".join(f"Requires-Dist: {need}\n" for need in requires)
    files = {
        f"{name}.py": f"version = {version!r}\n{body}",
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{needs}",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    files[f"{info}/RECORD"] = "".join(f"{path},,\n" for path in [*files, f"{info}/RECORD"])
    wheel = folder / f"{name}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for path, content in files.items():
            archive.writestr(path, content)
    return wheel


BACKEND = """
import pathlib, sys
sys.path.insert(0, {helpers!r})
from wheels import make_wheel

def build_wheel(wheel_directory, config_settings=None, metadata_directory=None):
    {before}
    return make_wheel(pathlib.Path(wheel_directory), {name!r}, "1.0").name
"""


def make_sdist(folder: Path, name: str, before: str = "pass") -> Path:
    """A source distribution with its own build backend; `before` runs when it is built."""
    folder.mkdir(parents=True, exist_ok=True)
    helpers = str(Path(__file__).parent)
    project = (
        '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'
        f'[project]\nname = "{name}"\nversion = "1.0"\n'
    )
    files = {
        "pyproject.toml": project,
        "backend.py": BACKEND.format(helpers=helpers, before=before, name=name),
        "PKG-INFO": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n",
    }
    sdist = folder / f"{name}-1.0.tar.gz"
    with tarfile.open(sdist, "w:gz") as archive:
        for path, content in files.items():
            entry = tarfile.TarInfo(f"{name}-1.0/{path}")
            entry.size = len(content.encode())
            archive.addfile(entry, io.BytesIO(content.encode()))
    return sdist
