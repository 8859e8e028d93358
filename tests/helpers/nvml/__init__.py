"""NVIDIA's library without a GPU: `standin.c`, built once, and the file that says what it tells."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

SOURCE = Path(__file__).with_name("standin.c")
LIBRARY = "libnvidia-ml.so.1"


def build(folder: Path) -> Path:
    """Compile it; the folder for LD_LIBRARY_PATH."""
    compiler = shutil.which("cc")
    assert compiler, "the stand-in for NVIDIA's library needs a C compiler"
    command = [compiler, "-shared", "-fPIC", "-O1", "-Wall", "-Wextra", "-Werror"]
    subprocess.run([*command, "-o", folder / LIBRARY, SOURCE], check=True)
    return folder


class Machine:
    """What the stand-in tells of.

    Args:
        library: Folder of the library.
        path: Of the file; None in `tell` takes it away.
    """

    def __init__(self, library: Path, path: Path) -> None:
        self.library = library
        self.path = path
        self.env = {"LD_LIBRARY_PATH": str(library), "OTTER_NVML_SCENARIO": str(path)}

    def tell(self, text: str) -> None:
        """From now on: lines as `scenario.h` says. Never seen half written."""
        fresh = self.path.with_suffix(".new")
        fresh.write_text(text)
        os.replace(fresh, self.path)
