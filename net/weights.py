"""Finds a model among those that a module has, and sees that it is whole. Pure but files.

Frameworks say little that helps when weights are missing, cut short, or of another model: some
fill what they lack with random numbers. So a module asks here first.

    MODELS/NAME/config.json            `model_type` says what kind of model it is
    MODELS/NAME/model.safetensors      u64 size   JSON {name: {dtype, shape, data_offsets}}   data
    MODELS/NAME/….safetensors.index.json           of one in several files

MODELS is what was prepared at build (OTTER_MODELS), or what the topology names as the module's
`weights` (OTTER_WEIGHTS), which comes first.

Source: github.com/huggingface/safetensors, README.md, "Format". Must not know: any framework.
"""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Collection
from pathlib import Path
from typing import Any

from net.errors import OtterError

SHOWN_VARIABLE = "OTTER_WEIGHTS"
BUILT = "`otterctl destroy`, `otterctl image prune` and `otterctl apply` make it anew"
FETCHED = "`otterctl destroy`, `otterctl cache rm --unused` and `otterctl apply` fetch it anew"
SAFETENSORS = "*.safetensors"
MAX_HEADER_BYTES = 100 << 20
"""As the format's own reader has it."""
_BITS = {
    "BOOL": 8, "U8": 8, "I8": 8, "F8_E5M2": 8, "F8_E4M3": 8, "I16": 16, "U16": 16, "F16": 16,
    "BF16": 16, "I32": 32, "U32": 32, "F32": 32, "I64": 64, "U64": 64, "F64": 64,
}  # fmt: skip


class WeightsError(OtterError):
    """A model can't be used; the message says which, and why."""


def prepared(
    models: Path | None, name: str, kinds: Collection[str] = (), files: Collection[str] = ()
) -> Path:
    """The folder of a model, checked.

    Args:
        models: Where the prepared ones are: `mesh.models`.
        name: Of the model, as a hub has it (`openai/whisper-tiny.en`); the folder is its last part.
        kinds: The `model_type`s that the module can run; none: any.
        files: That have to be there; none: safetensors, as `transformers` writes them.

    Raises:
        WeightsError: It isn't there, isn't whole, or is a model of another kind.
    """
    folder = _folder(models, name)
    kind = _kind(name, folder / "config.json")
    if kinds and kind not in kinds:
        wanted = " or ".join(sorted(kinds))
        raise WeightsError(f"{name} is a model of kind {kind!r}; this module runs {wanted}")
    for file in folder.glob(SAFETENSORS):
        _check(name, file)
    for missing in [f for f in files if not (folder / f).is_file()] if files else _missing(folder):
        raise WeightsError(f"{name}: {missing} is missing in {folder}", hint=anew(folder))
    return folder


def anew(folder: Path | None = None) -> str:
    """What brings another copy of a model, for the hint of an error: an apply alone keeps this one.

    Args:
        folder: Of the model; None: it was made by the module's build.
    """
    shown = os.environ.get(SHOWN_VARIABLE)
    return FETCHED if shown and folder and folder.is_relative_to(shown) else BUILT


def _folder(models: Path | None, name: str) -> Path:
    shown = os.environ.get(SHOWN_VARIABLE)
    places = [place for place in (Path(shown) if shown else None, models) if place is not None]
    for place in places:
        if (place / name.rpartition("/")[2]).is_dir():
            return place / name.rpartition("/")[2]
    has = sorted(f.name for place in places if place.is_dir() for f in place.iterdir())
    where = " and ".join(map(str, places)) or "None"
    text = f"{name} was not prepared at build: {where} holds {', '.join(has) or 'nothing'}"
    raise WeightsError(text, hint="name it in the module's `weights`, or have prepare.py make it")


def tensors(file: Path) -> dict[str, tuple[str, tuple[int, ...]]]:
    """Type and shape of each tensor in a safetensors file; its size has to fit.

    Raises:
        ValueError: It is none, or is cut short; says how.
    """
    size = file.stat().st_size
    with file.open("rb") as source:
        head = source.read(8)
        if len(head) < 8:
            raise ValueError(f"only {size} bytes long")
        (length,) = struct.unpack("<Q", head)
        if length > min(size - 8, MAX_HEADER_BYTES):
            raise ValueError(f"its header of {length} bytes is cut short, or it isn't safetensors")
        try:
            header = json.loads(source.read(length))
            found = {name: _tensor(name, at) for name, at in header.items() if name[:2] != "__"}
        except (ValueError, RecursionError, AttributeError) as exc:
            raise ValueError(f"its header makes no sense: {exc}") from exc
    end = max((end for *_, end in found.values()), default=0)
    if size != 8 + length + end:
        raise ValueError(f"{size} bytes long instead of {8 + length + end}")
    return {name: (dtype, shape) for name, (dtype, shape, _) in found.items()}


def _tensor(name: str, at: Any) -> tuple[str, tuple[int, ...], int]:
    try:
        dtype, shape, (start, end) = at["dtype"], tuple(at["shape"]), at["data_offsets"]
        bits = _BITS[dtype]
        for length in shape:
            bits *= length
        if not 0 <= start <= end or (end - start) * 8 != bits:
            raise ValueError(f"{name} of shape {list(shape)} in {end - start} bytes")
    except (KeyError, TypeError) as exc:
        raise ValueError(f"tensor {name}: {exc!r}") from exc
    return dtype, shape, end


def _kind(name: str, config: Path) -> str:
    try:
        read = json.loads(config.read_bytes())
        return str(read["model_type"])
    except FileNotFoundError:
        text = f"{name}: {config.name} is missing in {config.parent}"
        raise WeightsError(text, hint=anew(config.parent)) from None
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as exc:
        text = f"{name}: {config} doesn't say what model it is ({exc!r})"
        raise WeightsError(text, hint=anew(config.parent)) from exc


def _check(name: str, file: Path) -> None:
    try:
        tensors(file)
    except (OSError, ValueError) as exc:
        text = f"{name}: {file} is damaged: {exc}"
        raise WeightsError(text, hint=anew(file.parent)) from exc


def _missing(folder: Path) -> list[str]:
    """Files of weights that should be there and aren't."""
    there = {file.name for file in folder.glob(SAFETENSORS)}
    for index in folder.glob(f"{SAFETENSORS}.index.json"):
        try:
            named = set(json.loads(index.read_bytes())["weight_map"].values())
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
            return [f"a sound {index.name}"]
        return sorted(named - there)
    return [] if there else ["model.safetensors"]
