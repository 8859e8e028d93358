"""Planned values in people's words. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from net.units import format_duration, format_rate, format_ratio, format_size

_FORMATS: dict[str, tuple[str, Callable[[Any], str]]] = {
    "delay_s": ("delay", format_duration),
    "jitter_s": ("jitter", format_duration),
    "loss_ratio": ("loss", format_ratio),
    "rate_bps": ("rate", format_rate),
    "queue_s": ("queue", format_duration),
    "queue_bytes": ("queue", format_size),
}


def link_text(properties: Mapping[str, float | int]) -> str:
    """`delay 20ms, rate 20mbit`; "" for no properties."""
    words = []
    for field, value in properties.items():
        if field in _FORMATS:
            name, form = _FORMATS[field]
            words.append(f"{name} {form(value)}")
        elif field == "queue_packets":
            words.append(f"queue {value} packets")
    return ", ".join(words)


_UNITS: dict[str, Callable[[Any], str]] = {
    "_s": format_duration, "_bps": format_rate, "_ratio": format_ratio, "_bytes": format_size,
}  # fmt: skip


def quantity_text(field: str, value: object) -> str:
    """A planned number as people write it, by its field's unit; "" for what is no quantity."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return ""
    return next((form(value) for end, form in _UNITS.items() if field.endswith(end)), "")
