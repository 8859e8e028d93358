"""What is changed of a direction while it runs, and what is in force of all that is asked. Pure.

    topology's LinkSpec ─► timeline's Change ─► Change by hand ─► sound() ─► LinkSpec for the driver

Each layer changes only what it names; the one further right wins. Must not know: who asks, when,
which driver makes it so.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from functools import reduce
from types import MappingProxyType
from typing import Any, TypeVar

from net.links.limits import Limits
from net.links.spec import LinkSpec, Value

Asked = TypeVar("Asked", bound=LinkSpec | Limits)
FIELDS = frozenset(f.name for f in fields(LinkSpec))
_ONE_OF = (
    ("loss_ratio", "loss_gilbert", "loss_markov"),
    ("queue_s", "queue_bytes", "queue_packets"),
)
"""Of each of these a direction has one: who names another takes the former away."""
_GOES_WITH = {
    "jitter_s": ("jitter_distribution", "jitter_table", "jitter_correlation"),
    "loss_ratio": ("loss_correlation",),
    "slot_s": ("slot_bytes",),
    "reorder_ratio": ("reorder_correlation",),
    "medium": ("medium_weight",),
}
"""What makes no sense once the first is taken away."""
_NOTHING: Mapping[str, Value | None] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Change:
    """Part of a `LinkSpec`: what is named holds, all else stays as it is.

    Attributes:
        values: Field -> value; None: it is no longer asked for (`rate_bps`: unlimited).
    """

    values: Mapping[str, Value | None] = field(default_factory=lambda: _NOTHING)

    def __bool__(self) -> bool:
        return bool(self.values)

    @classmethod
    def of(cls, **values: Any) -> Change:
        """What is named, with what follows from it: a queue in bytes is none in packets."""
        return cls(_implied(values) | values)

    def then(self, later: Change) -> Change:
        """Both, of which the later one wins."""
        return Change({**self.values, **later.values}) if later else self

    def without(self, names: Iterable[str]) -> Change:
        """The same, but for some fields."""
        gone = frozenset(names)
        return Change({name: v for name, v in self.values.items() if name not in gone})

    def over(self, spec: Asked) -> Asked:
        """What is asked for once this has changed it; may make no sense: see `sound`."""
        return replace(spec, **self.values) if self.values else spec  # type: ignore[arg-type]

    def asked(self) -> dict[str, Value | None]:
        """For people: without what only follows from the rest."""
        named = {name for name, value in self.values.items() if value is not None}
        follows = {*_implied({name: self.values[name] for name in named}), "delivery"}
        return {n: v for n, v in self.values.items() if v is not None or n not in follows}


def problems(change: Change, below: LinkSpec) -> dict[str, str]:
    """Field -> why a change of `below` makes no sense; empty if all is well."""
    unknown = change.values.keys() - FIELDS
    if unknown:
        return dict.fromkeys(sorted(unknown), "is no property of a link")
    merged = change.over(below)
    known = below.problems()
    return {name: why for name, why in merged.problems().items() if known.get(name) != why}


def in_force(topology: LinkSpec, *layers: Change) -> LinkSpec:
    """What a driver is to do."""
    return sound(reduce(lambda spec, change: change.over(spec), layers, topology))


def sound(spec: LinkSpec) -> LinkSpec:
    """The nearest that makes sense: layers of which each is right may not go together.

    A jitter above the delay is held at the delay; what contradicts the rest is left out.
    """
    while wrong := spec.problems():
        if "jitter_s" in wrong and spec.delay_s is not None and not wrong.keys() & {"delay_s"}:
            spec = replace(spec, jitter_s=max(0.0, min(spec.jitter_s or 0.0, spec.delay_s)))
            wrong = spec.problems()
        if "jitter_table" in wrong:
            wrong["jitter_distribution"] = ""
        spec = replace(spec, **dict.fromkeys(wrong))
    return spec


def _implied(values: Mapping[str, Any]) -> dict[str, Any]:
    """What a change takes away without naming it, and what it sets so."""
    implied: dict[str, Any] = {}
    for group in _ONE_OF:
        if any(values.get(name) is not None for name in group):
            implied |= dict.fromkeys(name for name in group if values.get(name) is None)
    taken = {name for name in _GOES_WITH if name in {**implied, **values}}
    for name in taken:
        if {**implied, **values}[name] is None:
            implied |= dict.fromkeys(_GOES_WITH[name])
    if values.get("jitter_distribution") not in (None, "table"):
        implied["jitter_table"] = None
    elif values.get("jitter_table") is not None and "jitter_distribution" not in values:
        implied["jitter_distribution"] = "table"
    if "rate_bps" in values and "delivery" not in values:
        implied["delivery"] = None  # who says a rate means it
    if values.get("queue_discipline") == "tail":
        implied["ecn"] = None
    return {name: value for name, value in implied.items() if values.get(name) is None}
