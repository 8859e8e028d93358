"""Planned values in people's words. Pure."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from net.units import format_duration, format_rate, format_ratio, format_size

_UNITS: dict[str, Callable[[Any], str]] = {
    "_bytes_per_s": lambda size: f"{format_size(size)}/s",
    "_s": format_duration, "_bps": format_rate, "_ratio": format_ratio, "_bytes": format_size,
}  # fmt: skip


def quantity_text(field: str, value: object) -> str:
    """A planned number as people write it, by its field's unit; "" for what is no quantity."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return ""
    return next((form(value) for end, form in _UNITS.items() if field.endswith(end)), "")
