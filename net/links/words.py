"""Properties of a link in people's words: `delay 20ms, rate 20mbit`. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from net.units import format_duration, format_rate, format_ratio, format_size


def _ratios(values: Any) -> str:
    return "/".join(map(format_ratio, values))


def _packets(count: int) -> str:
    return f"{count} packets"


def _switch(on: bool) -> str:
    return "on" if on else "off"


def _slot(times: Any) -> str:
    return "…".join(format_duration(t) for t in dict.fromkeys(times))


_FORMS: Mapping[str, tuple[str, Callable[[Any], str]]] = {
    "up": ("", lambda up: "up" if up else "down"),
    "delay_s": ("delay", format_duration),
    "jitter_s": ("jitter", format_duration),
    "jitter_distribution": ("distribution", str),
    "jitter_table": ("jitter table", lambda table: f"of {len(table)}"),
    "jitter_correlation": ("jitter correlation", format_ratio),
    "loss_ratio": ("loss", format_ratio),
    "loss_correlation": ("loss correlation", format_ratio),
    "loss_gilbert": ("loss gilbert", _ratios),
    "loss_markov": ("loss markov", _ratios),
    "rate_bps": ("rate", format_rate),
    "overhead_bytes": ("overhead", lambda count: f"{count}B"),
    "queue_s": ("queue", format_duration),
    "queue_bytes": ("queue", format_size),
    "queue_packets": ("queue", _packets),
    "queue_discipline": ("discipline", str),
    "ecn": ("ecn", _switch),
    "duplicate_ratio": ("duplicate", format_ratio),
    "corrupt_ratio": ("corrupt", format_ratio),
    "reorder_ratio": ("reorder", format_ratio),
    "reorder_correlation": ("reorder correlation", format_ratio),
    "slot_s": ("slot", _slot),
    "slot_bytes": ("slot size", format_size),
    "delivery": ("", lambda delivery: "opportunity by opportunity"),
    "medium": ("shared on", str),
    "medium_weight": ("weight", lambda weight: f"{weight:g}"),
}


def link_text(properties: Mapping[str, Any]) -> str:
    """`delay 20ms, rate 20mbit`; a property that is taken away is `no rate`; "" for none."""
    words = []
    for field, (name, form) in _FORMS.items():
        if field not in properties:
            continue
        value = properties[field]
        text = f"no {name or field}" if value is None else f"{name} {form(value)}"
        words.append(text.strip())
    return ", ".join(words)


def name_of(field: str) -> str:
    """What people call a field."""
    return _FORMS[field][0] or field if field in _FORMS else field


_BUDGET: Mapping[str, tuple[str, Callable[[Any], str]]] = {
    "cpu": ("cpu", lambda cores: f"{cores:.4g}"),
    "speed": ("speed", lambda speed: f"{speed:.3g}"),
    "memory_bytes": ("memory", format_size),
    "read_bytes_per_s": ("read", lambda size: f"{format_size(size)}/s"),
    "write_bytes_per_s": ("write", lambda size: f"{format_size(size)}/s"),
    "read_iops": ("reads", lambda count: f"{count}/s"),
    "write_iops": ("writes", lambda count: f"{count}/s"),
    "in_bps": ("in", format_rate),
    "out_bps": ("out", format_rate),
    "storage_bytes": ("storage", format_size),
    "gpu_share": ("gpu share", lambda share: f"{share * 100:.3g}%"),
}
_ALWAYS = ("cpu", "memory_bytes")
"""Of a whole budget: that these have no limit is said, of the others not."""


def host_text(budget: Mapping[str, Any]) -> str:
    """`cpu 0.5, memory 512MiB`, `cpu unlimited`; "" for none."""
    return ", ".join(
        f"{name} {'unlimited' if budget[field] is None else form(budget[field])}"
        for field, (name, form) in _BUDGET.items()
        if field in budget
    )


def budget_text(budget: Mapping[str, Any]) -> str:
    """A whole budget: `cpu 0.5, memory unlimited`, and of the rest what is limited."""
    return host_text({n: v for n, v in budget.items() if v is not None or n in _ALWAYS})


_VALUES: Mapping[str, Callable[[Any], str]] = {
    "queue_delay": lambda delay_s: format_duration(round(delay_s, 4)),
    "use": lambda share: f"{share * 100:.3g}%",
    "bytes": format_size,
    "memory": format_size,
}
"""What conditions look at, where it isn't a plain number."""


def value_text(test: str, value: float) -> str:
    """A value that a condition looks at: `50ms` of `queue_delay_above`."""
    name = test.removesuffix("_above").removesuffix("_below")
    form = _VALUES.get(name)
    if form is format_size:
        return format_size(round(value))
    return f"{value:.6g}" if form is None else form(value)
