"""What environments are put together from: virtual environments, and copies of `net`. Blocking.

A layer is a virtual environment with the wheels of one set of requirements. An environment is an
empty one whose `.pth` file names its layers: packages lie on the disk once, however many modules
use them. Must not know: topologies, locks, pip's indexes.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
import venv
from collections.abc import Iterable, Sequence
from pathlib import Path

COMPILE = "import compileall, sys; compileall.compile_dir(sys.argv[1], quiet=2, workers=0)"
"""Byte code at build: a module can't write it, and would compile all of torch at every start.
Packages carry files that aren't Python 3; they don't matter, so its verdict is ignored."""


def make_venv(folder: Path) -> None:
    """An empty virtual environment of this interpreter, without pip."""
    venv.EnvBuilder(with_pip=False, symlinks=True).create(folder)


def python_of(folder: Path) -> Path:
    """The interpreter of the virtual environment in `folder`."""
    return folder / "bin" / "python"


def packages_of(folder: Path) -> Path:
    """Where the virtual environment in `folder` has its packages."""
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    return folder / "lib" / version / "site-packages"


def wheels_in(folder: Path) -> list[Path]:
    """The wheels of a folder, by name."""
    return sorted(folder.glob("*.whl"))


def install_command(folder: Path, wheels: Sequence[Path]) -> list[str]:
    """Installs exactly these wheels; nothing is resolved or downloaded."""
    return [
        sys.executable, "-m", "pip", "--python", str(python_of(folder)), "install",
        "--disable-pip-version-check", "--no-input", "--progress-bar", "off", "--quiet",
        "--no-index", "--no-deps", "--no-compile", "--root-user-action=ignore", *map(str, wheels),
    ]  # fmt: skip


def compile_command(folder: Path) -> list[str]:
    """Compiles what is installed in `folder`, on all cores."""
    return [str(python_of(folder)), "-c", COMPILE, str(packages_of(folder))]


def link_layers(folder: Path, layers: Iterable[Path]) -> None:
    """Make the packages of `layers` importable in the virtual environment `folder`.

    Args:
        folder: A virtual environment.
        layers: Folders that hold packages; the first wins. `addsitedir` also heeds their own .pth
            files, which a plain line in ours would not.
    """
    lines = [f"import site; site.addsitedir({str(layer)!r})\n" for layer in layers]
    (packages_of(folder) / "otter.pth").write_text("".join(lines))


def tree_digest(root: Path, files: Iterable[Path]) -> str:
    """Content and relative names of `files`."""
    seen = hashlib.sha256()
    for file in sorted(files):
        content = hashlib.sha256(file.read_bytes()).hexdigest()
        seen.update(f"{file.relative_to(root)}\0{content}\n".encode())
    return seen.hexdigest()


def own_net() -> tuple[Path, Sequence[Path]]:
    """This installation's `net` package: its folder and files."""
    import net

    root = Path(net.__file__).parent
    return root, [f for f in root.rglob("*") if f.is_file() and "__pycache__" not in f.parts]


def copy_net(target: Path) -> None:
    """Copy `net` into the folder `target`, compiled."""
    import compileall

    root, files = own_net()
    for file in files:
        copy = target / "net" / file.relative_to(root)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(file, copy)
    compileall.compile_dir(target, quiet=2)


def tree_bytes(folder: Path) -> int:
    """What a folder takes on the disk."""
    total = 0
    for path, _, names in os.walk(folder):
        for name in names:
            found = os.lstat(os.path.join(path, name))
            total += found.st_blocks * 512 // max(1, found.st_nlink)
    return total
