"""Models are found whole, and of the right kind, or not at all; no framework is needed for that."""

from __future__ import annotations

import json
import shutil
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from net.weights import BUILT, FETCHED, SHOWN_VARIABLE, WeightsError, prepared, tensors

NAME = "someone/tiny"
ARRAYS = {"a.weight": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.ones(4, np.float16)}
TYPES = {"float32": "F32", "float16": "F16"}


def safetensors(arrays: dict[str, np.ndarray] = ARRAYS) -> bytes:
    header, data = {"__metadata__": {"format": "pt"}}, b""
    for name, values in arrays.items():
        ends = [len(data), len(data) + values.nbytes]
        header[name] = {
            "dtype": TYPES[str(values.dtype)], "shape": values.shape, "data_offsets": ends,
        }  # fmt: skip
        data += values.tobytes()
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "models" / "tiny"
    made.mkdir(parents=True)
    (made / "config.json").write_text('{"model_type": "whisper"}')
    (made / "model.safetensors").write_bytes(safetensors())
    return made


def problem(folder: Path, **more: object) -> str:
    with pytest.raises(WeightsError) as caught:
        prepared(folder.parent, NAME, {"whisper"}, **more)
    assert NAME in str(caught.value)
    return str(caught.value)


def test_what_is_whole_is_found(folder: Path) -> None:
    assert prepared(folder.parent, NAME) == folder
    assert prepared(folder.parent, "tiny", {"whisper", "moonshine"}) == folder
    assert tensors(folder / "model.safetensors") == {
        "a.weight": ("F32", (2, 3)), "b": ("F16", (4,)),
    }  # fmt: skip


def test_what_the_topology_names_comes_first(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = tmp_path / "shown"
    shutil.copytree(folder, shown / "tiny")
    monkeypatch.setenv(SHOWN_VARIABLE, str(shown))
    assert prepared(folder.parent, NAME) == shown / "tiny"
    assert prepared(None, NAME, {"whisper"}) == shown / "tiny"
    (folder.parent / "other").mkdir()
    with pytest.raises(WeightsError, match=r"big was not prepared .* holds other, tiny, tiny"):
        prepared(folder.parent, "someone/big")
    (shown / "tiny" / "config.json").write_text('{"model_type": "llama"}')
    with pytest.raises(WeightsError, match="is a model of kind 'llama'"):
        prepared(folder.parent, NAME, {"whisper"})


def test_what_brings_a_model_anew_is_said(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An apply keeps what was once made, or fetched, as it is."""
    (folder / "model.safetensors").write_bytes(b"none")
    assert problem(folder).endswith(f"; {BUILT}")
    (folder / "model.safetensors").unlink()
    assert problem(folder).endswith(f"; {BUILT}")
    (folder / "config.json").unlink()
    assert problem(folder).endswith(f"; {BUILT}")
    monkeypatch.setenv(SHOWN_VARIABLE, str(folder.parent))
    assert problem(folder).endswith(f"; {FETCHED}")
    monkeypatch.delenv(SHOWN_VARIABLE)
    shutil.rmtree(folder)
    assert problem(folder).endswith(
        "; name it in the module's `weights`, or have prepare.py make it"
    )


def test_what_was_not_prepared_is_named_with_what_was(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"someone/big was not prepared .* holds tiny"):
        prepared(folder.parent, "someone/big")
    with pytest.raises(WeightsError, match="holds nothing"):
        prepared(tmp_path / "nowhere", NAME)
    with pytest.raises(WeightsError, match="None holds nothing"):
        prepared(None, NAME)


def test_another_architecture_is_refused(folder: Path) -> None:
    (folder / "config.json").write_text('{"model_type": "llama"}')
    assert "a model of kind 'llama'; this module runs whisper" in problem(folder)


@pytest.mark.parametrize("text", [None, "", "[]", "{}", "{", "[" * 100_000])
def test_a_config_that_says_nothing_is_refused(folder: Path, text: str | None) -> None:
    (folder / "config.json").unlink()
    if text is not None:
        (folder / "config.json").write_text(text)
    assert "config.json" in problem(folder)


def test_missing_weights_are_named(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    assert "model.safetensors is missing" in problem(folder)
    assert "model.keras is missing" in problem(folder, files=("model.keras",))
    (folder / "model.keras").touch()
    assert prepared(folder.parent, NAME, files=("model.keras",)) == folder


def test_of_weights_in_several_files_each_has_to_be_there(folder: Path) -> None:
    index = folder / "model.safetensors.index.json"
    one, two = "model-1-of-2.safetensors", "model-2-of-2.safetensors"
    (folder / "model.safetensors").rename(folder / one)
    index.write_text(json.dumps({"weight_map": {"a.weight": one, "b": two}}))
    assert f"{two} is missing" in problem(folder)
    (folder / two).write_bytes(safetensors())
    assert prepared(folder.parent, NAME) == folder
    index.write_text("{}")
    assert "a sound model.safetensors.index.json is missing" in problem(folder)


@pytest.mark.parametrize("size", [0, 7, 8, 60, -1])
def test_truncated_weights_are_damaged(folder: Path, size: int) -> None:
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:size])
    assert "model.safetensors is damaged: " in problem(folder)


def test_more_than_it_should_be_is_damaged_too(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(safetensors() + b"\0")
    assert "bytes long instead of" in problem(folder)


def test_shapes_that_lie_about_their_size_are_damaged(folder: Path) -> None:
    honest = safetensors()
    (folder / "model.safetensors").write_bytes(honest.replace(b"[2, 3]", b"[2, 9]"))
    assert "a.weight of shape [2, 9] in 24 bytes" in problem(folder)


@pytest.mark.slow
@given(st.binary(max_size=40), st.integers(0, 260))
def test_damaged_files_never_do_worse_than_being_refused(junk: bytes, at: int) -> None:
    import tempfile

    whole = safetensors()
    with tempfile.NamedTemporaryFile() as file:
        file.write(whole[:at] + junk + whole[at + len(junk) :])
        file.flush()
        try:
            found = tensors(Path(file.name))
        except ValueError:
            return
        assert all(isinstance(name, str) for name in found)
