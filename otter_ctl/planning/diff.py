"""(current, desired) -> changes, per field: what `plan` prints and what a test can ask. Pure.

Fields are dotted: `forward.rate_bps`, `env.OTTER_MODEL`, `routes`. What follows from other
changes (the mesh's names) isn't told; the run id isn't the topology's. Must not know: how changes
are shown or made.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

import msgspec

from otter_agent import api

Kind = Literal["create", "update", "replace", "remove"]
Subject = Literal["mesh", "host", "link", "module"]

S = TypeVar("S", api.HostSpec, api.Link, api.ModuleSpec)

_ANCHORS = {"host": ("address", "block"), "link": ("a", "b")}
"""Fields of a host or link that can't change in place."""
_ORDER: dict[Subject, int] = {"mesh": 0, "host": 1, "link": 2, "module": 3}


@dataclass(frozen=True, slots=True)
class FieldChange:
    """One field; None: not set.

    Attributes:
        needs_restart: Whether this field alone makes its subject be replaced.
    """

    field: str
    old: Any
    new: Any
    needs_restart: bool = False


@dataclass(frozen=True, slots=True)
class Change:
    """What happens to one subject.

    Attributes:
        kind: `update` is done live, `replace` starts it anew.
        fields: That differ; of something created: all that are set; of something removed: none.
    """

    kind: Kind
    subject: Subject
    name: str
    fields: tuple[FieldChange, ...] = ()


def diff(current: api.MeshSpec | None, desired: api.MeshSpec | None) -> list[Change]:
    """Changes from one desired state to the next, mesh, hosts, links, modules, each by name.

    `current` None: the mesh isn't there; `desired` None: it shall go.
    """
    changes = _mesh(current, desired)
    none: tuple[()] = ()
    changes += _subjects(
        "host", current.hosts if current else none, desired.hosts if desired else none
    )
    changes += _subjects(
        "link", current.links if current else none, desired.links if desired else none
    )
    changes += _subjects(
        "module", current.modules if current else none, desired.modules if desired else none
    )
    return sorted(changes, key=lambda c: (_ORDER[c.subject], c.name))


def _mesh(current: api.MeshSpec | None, desired: api.MeshSpec | None) -> list[Change]:
    """The mesh itself: there or not, and its seed."""
    if current is None or desired is None:
        if desired is not None:
            return [
                Change("create", "mesh", desired.name, (FieldChange("seed", None, desired.seed),))
            ]
        return [Change("remove", "mesh", current.name)] if current is not None else []
    if current.seed == desired.seed:
        return []
    seed = FieldChange("seed", current.seed, desired.seed)
    return [Change("update", "mesh", desired.name, (seed,))]


def _subjects(subject: Subject, current: Sequence[S], desired: Sequence[S]) -> list[Change]:
    old = {item.name: item for item in current}
    new = {item.name: item for item in desired}
    changes = [Change("remove", subject, name) for name in old.keys() - new.keys()]
    for name, item in new.items():
        before = old.get(name)
        if before is None:
            fields = (FieldChange(f, None, v) for f, v in _flat(item).items() if v not in _UNSET)
            changes.append(Change("create", subject, name, tuple(fields)))
        elif before != item:
            changes.append(_difference(subject, before, item))
    return changes


_UNSET: tuple[Any, ...] = (None, [], (), {})


def _difference(subject: Subject, old: S, new: S) -> Change:
    """Field by field."""
    fields: list[FieldChange] = []
    for field in old.__struct_fields__:
        if getattr(old, field) != getattr(new, field):
            fields += _field(field, old, new, _restarts(subject, field, old, new))
    fields.sort(key=lambda f: f.field)
    kind: Kind = "replace" if any(f.needs_restart for f in fields) else "update"
    return Change(kind, subject, new.name, tuple(fields))


def _field(name: str, old: S, new: S, restarts: bool) -> list[FieldChange]:
    """The parts of one field that differ; the whole where the parts say nothing."""
    values = [{name: api.to_builtins(getattr(item, name))} for item in (old, new)]
    before, after = map(_flatten, values)
    parts = [
        FieldChange(f, before.get(f), after.get(f), restarts)
        for f in before.keys() | after.keys()
        if before.get(f) != after.get(f)
    ]
    return parts or [FieldChange(name, values[0][name], values[1][name], restarts)]


def _restarts(subject: Subject, field: str, old: S, new: S) -> bool:
    """Whether the new value of this one field makes the subject be replaced."""
    value = getattr(new, field)
    if getattr(old, field) == value:
        return False
    if not isinstance(old, api.ModuleSpec):
        return field in _ANCHORS[subject]
    return api.instance_digest(msgspec.structs.replace(old, **{field: value})) != (
        api.instance_digest(old)
    )


def _flat(item: api.HostSpec | api.Link | api.ModuleSpec) -> dict[str, Any]:
    """Dotted field -> plain value; the name is the subject's, not a field."""
    fields = _flatten(api.to_builtins(item))
    del fields["name"]
    return fields


def _flatten(fields: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    result: dict[str, Any] = {}
    for key, value in fields.items():
        if isinstance(value, dict) and value:
            result |= _flatten(value, f"{prefix}{key}.")
        else:
            result[f"{prefix}{key}"] = value
    return result
