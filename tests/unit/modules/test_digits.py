"""What the classifier of use case 2 takes for digits, from its build and from messages; and by what
its generator is trained."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from modules.digit_classifier.given import DigitsError, kept, meant_by, pictures_of

ROOT = Path(__file__).parents[3]
SOME = np.full((3, 28, 28, 1), 0.5, np.float32)


def test_the_recipe_is_that_whose_figures_are_told() -> None:
    """The tests train by another (helpers/digits.py): nobody would see this one being shortened.

    Who changes it measures anew (`python -m benchmarks ai-digits`), for docs/use-cases.md.
    """
    recipe = json.loads((ROOT / "modules" / "digit_generator" / "recipe.json").read_text())
    assert recipe == {
        "epochs": 30, "digits": 4000, "seed": 7, "strength": 0.05, "kept": 0.995, "as_meant": 0.6,
    }  # fmt: skip


@pytest.mark.parametrize("pictures", [SOME, SOME.astype(np.float64), np.ones((1, 28, 28, 1), int)])
def test_digits_are_digits(pictures: np.ndarray) -> None:
    found = pictures_of({"pictures": pictures, "labels": [1]})
    assert found.dtype == np.float32
    assert np.array_equal(found, pictures)


@pytest.mark.parametrize(
    ("value", "why"),
    [
        ("digits", "a str without pictures"),
        (None, "a NoneType without pictures"),
        ({"picture": SOME}, "a dict without pictures"),
        ({"pictures": SOME[:0]}, "0 pictures"),
        ({"pictures": SOME[..., 0]}, r"shape \[3, 28, 28\]"),
        ({"pictures": SOME[0, 0, 0, 0]}, r"shape \[\]"),
        ({"pictures": np.zeros((5000, 28, 28, 1), np.uint8)}, "5000 pictures"),
        ({"pictures": SOME * 510}, "not from 0 to 1"),
        ({"pictures": SOME * np.nan}, "not from 0 to 1"),
        ({"pictures": SOME.astype(str)}, "type <U"),
        ({"pictures": [[0.0], [0.0, 0.0]]}, "no array"),
    ],
)
def test_what_is_none_is_refused(value: object, why: str) -> None:
    with pytest.raises(DigitsError, match=why):
        pictures_of(value)


def test_what_they_are_to_show_may_be_said() -> None:
    assert meant_by({"pictures": SOME}, 3) is None
    found = meant_by({"labels": [3, 1, 9]}, 3)
    assert found is not None
    assert found.tolist() == [3, 1, 9]


@pytest.mark.parametrize("labels", [[1, 2], 7, [1, 2, 10], [0.5, 1, 2], [[1], [2, 3]], [[1, 2, 3]]])
def test_what_they_cannot_show_is_refused(labels: object) -> None:
    with pytest.raises(DigitsError, match="labels"):
        meant_by({"labels": labels}, 3)


def test_digits_of_the_build_are_whole_or_refused(tmp_path: Path) -> None:
    file = tmp_path / "digits" / "digits.npz"
    for models in (None, tmp_path):
        with pytest.raises(DigitsError, match=r"holds no digits\.npz"):
            kept(models)
    file.parent.mkdir()
    np.savez_compressed(file, pictures=SOME, labels=np.arange(3))
    pictures, labels = kept(tmp_path)
    assert np.array_equal(pictures, SOME)
    assert labels.tolist() == [0, 1, 2]
    whole = file.read_bytes()
    for damaged in (whole[: len(whole) // 2], b"", b"no digits", bytes(1000)):
        file.write_bytes(damaged)
        with pytest.raises(DigitsError, match="is damaged"):
            kept(tmp_path)


@pytest.mark.parametrize(
    "labels", [np.arange(2), np.array([0, 1, 10]), np.zeros(3), np.zeros((3, 1), int)]
)
def test_each_picture_needs_a_digit(labels: np.ndarray, tmp_path: Path) -> None:
    (tmp_path / "digits").mkdir()
    np.savez_compressed(tmp_path / "digits" / "digits.npz", pictures=SOME, labels=labels)
    with pytest.raises(DigitsError, match="no digit for each picture"):
        kept(tmp_path)
