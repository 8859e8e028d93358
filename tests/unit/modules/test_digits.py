"""The classifier's digits: read whole, or said in one line why not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from modules.digit_classifier.digits import FILE, prepared
from net.weights import WeightsError

COUNT = 40


def written(models: Path, **given: Any) -> Path:
    file = models / FILE
    file.parent.mkdir(parents=True)
    chance = np.random.default_rng(7)
    arrays = {
        "pictures": chance.random((COUNT, 28, 28, 1), np.float32),
        "labels": np.arange(COUNT) % 10,
        **given,
    }
    np.savez_compressed(file, **{name: array for name, array in arrays.items() if array is not None})
    return file


def test_whole_ones_are_read(tmp_path: Path) -> None:
    written(tmp_path)
    pictures, labels = prepared(tmp_path)
    assert pictures.shape == (COUNT, 28, 28, 1)
    assert set(labels) == set(range(10))


@pytest.mark.parametrize("models", [None, Path("/nowhere")])
def test_without_a_file_they_were_not_prepared(models: Path | None) -> None:
    with pytest.raises(WeightsError, match="not prepared at build"):
        prepared(models)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9, 0.999])
def test_a_file_that_was_cut_short_is_damaged(tmp_path: Path, share: float) -> None:
    file = written(tmp_path)
    file.write_bytes(file.read_bytes()[: int(file.stat().st_size * share)])
    with pytest.raises(WeightsError, match="is damaged"):
        prepared(tmp_path)


def test_a_file_with_turned_bytes_is_damaged(tmp_path: Path) -> None:
    file = written(tmp_path)
    data = bytearray(file.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 64] = bytes(64)
    file.write_bytes(data)
    with pytest.raises(WeightsError, match="is damaged"):
        prepared(tmp_path)


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({"pictures": None}, "is damaged"),
        ({"labels": np.array([{"a": 1}] * COUNT)}, "is damaged"),  # a pickle: never opened
        ({"pictures": np.zeros((COUNT, 32, 32, 3), np.float32)}, r"pictures float32 \[40, 32, 32, 3\]"),
        ({"pictures": np.zeros((COUNT, 28, 28, 1))}, "pictures float64"),
        ({"pictures": np.zeros((0, 28, 28, 1), np.float32)}, r"pictures float32 \[0, "),
        ({"labels": np.arange(COUNT - 1)}, r"classes int64 \[39\]"),
        ({"labels": np.arange(COUNT)}, "classes from 0 to 39"),
        ({"labels": np.linspace(0, 9, COUNT)}, "classes float64"),
    ],
)
def test_what_is_no_digits_is_told(tmp_path: Path, given: dict[str, Any], why: str) -> None:
    written(tmp_path, **given)
    with pytest.raises(WeightsError, match=why):
        prepared(tmp_path)
