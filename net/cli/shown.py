"""Values and quantities as text. Pure."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

WIDTH = 60


def short(value: Any) -> str:
    """A value in a few words that no terminal minds."""
    if isinstance(value, np.ndarray):
        return f"array {value.dtype} {list(value.shape)}"
    if isinstance(value, (bytes, bytearray, memoryview)):
        return f"{len(value)} bytes"
    if isinstance(value, str):
        return _cut(repr(value))
    return _cut(as_json(value))


def plain(value: Any) -> str:
    """A text as it is, anything else as JSON."""
    return value if isinstance(value, str) else as_json(value)


def as_json(value: Any) -> str:
    """JSON; arrays and bytes by their form alone."""
    return json.dumps(value, default=_form)


def _form(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return {"dtype": value.dtype.str, "shape": list(value.shape)}
    if isinstance(value, (bytes, bytearray, memoryview)):
        return {"bytes": len(value)}
    return value.item() if isinstance(value, np.generic) else str(value)


def _cut(text: str) -> str:
    return text if len(text) <= WIDTH else text[: WIDTH - 1] + "…"


def size(nbytes: int) -> str:
    """Bytes."""
    for name, unit in (("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)):
        if nbytes >= unit:
            return f"{nbytes / unit:.4g} {name}"
    return f"{nbytes} B"


def milliseconds(seconds: float) -> str:
    """With a microsecond's precision, as ping(8)."""
    return f"{seconds * 1e3:.3f}"


def spread(samples: Sequence[float]) -> dict[str, float]:
    """min, median, p99 and max."""
    ordered = sorted(samples)
    count = len(ordered)
    middle = (ordered[(count - 1) // 2] + ordered[count // 2]) / 2
    p99 = ordered[math.ceil(0.99 * count) - 1]
    return {"min_s": ordered[0], "median_s": middle, "p99_s": p99, "max_s": ordered[-1]}
