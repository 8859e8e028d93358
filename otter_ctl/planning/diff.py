"""(current, desired) -> changes, per field: what `plan` prints and what a test can ask. Pure.

Fields are dotted: `forward.rate_bps`, `env.OTTER_MODEL`, `routes`; streams, files and mounts go by
their names: `streams_out.asr.text>vqa.question.address`. What follows from other
changes (the mesh's names) isn't told; the run id isn't the topology's. Must not know: how changes
are shown or made.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeVar

import msgspec

from otter_agent import api

Kind = Literal["create", "update", "replace", "remove", "start"]
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
        kind: `update` is done live, `replace` starts it anew, `start` starts what was stopped.
        fields: That differ; of something created: all that are set; of something removed: none.
        restart: It is a module whose running instance is ended, and another started.
        because: Why it is restarted, a few words each: a field of its own, or what follows from
            changes elsewhere.
    """

    kind: Kind
    subject: Subject
    name: str
    fields: tuple[FieldChange, ...] = ()
    restart: bool = False
    because: tuple[str, ...] = ()


def diff(
    current: api.MeshSpec | None,
    desired: api.MeshSpec | None,
    stopped: Collection[str] = (),
) -> list[Change]:
    """Changes from one desired state to the next, mesh, hosts, links, modules, each by name.

    Args:
        current: None: the mesh isn't there.
        desired: None: it shall go.
        stopped: Modules that somebody has stopped: an apply starts them.
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
    if desired is not None:
        changes = _with_starts(changes, desired, frozenset(stopped))
    return sorted(changes, key=_place)


def with_secrets(changes: Iterable[Change], differing: Mapping[str, Sequence[str]]) -> list[Change]:
    """The same, with the modules whose secrets have other values: they start anew.

    Args:
        changes: Without that.
        differing: Modules that run -> secrets whose values are others now.
    """
    result = {(change.subject, change.name): change for change in changes}
    for name, secrets in differing.items():
        change = result.get(("module", name), Change("replace", "module", name))
        if change.kind in ("update", "replace"):
            fields = tuple(
                FieldChange(f"secrets.{secret}", "a value", "another value", needs_restart=True)
                for secret in secrets
            )
            result["module", name] = replace(
                change,
                kind="replace",
                fields=change.fields + fields,
                restart=True,
                because=change.because + tuple(field.field for field in fields),
            )
    return sorted(result.values(), key=_place)


def _place(change: Change) -> tuple[int, str]:
    return _ORDER[change.subject], change.name


def _mesh(current: api.MeshSpec | None, desired: api.MeshSpec | None) -> list[Change]:
    """The mesh itself: there or not, its seed, and what it puts up with."""
    if current is None or desired is None:
        if desired is not None:
            return [
                Change("create", "mesh", desired.name, (FieldChange("seed", None, desired.seed),))
            ]
        return [Change("remove", "mesh", current.name)] if current is not None else []
    fields = [
        FieldChange(name, getattr(current, name), getattr(desired, name))
        for name in ("allow_degraded", "routing", "seed")
        if getattr(current, name) != getattr(desired, name)
    ]
    fields += timeline_changes(current.timeline, desired.timeline)
    fields += _cell_changes(current.cells, desired.cells)
    return [Change("update", "mesh", desired.name, tuple(fields))] if fields else []


def _cell_changes(old: Sequence[api.Cell], new: Sequence[api.Cell]) -> Iterable[FieldChange]:
    """What the links don't tell: capacity and efficiency may change against each other."""
    before = {member.link: member.efficiency for cell in old for member in cell.members}
    for cell in new:
        for member in cell.members:
            was = before.get(member.link, member.efficiency)
            if was != member.efficiency:
                name = f"cells.{cell.name}.efficiency.{member.host}"
                yield FieldChange(name, was, member.efficiency)


def timeline_changes(old: api.TimelineSpec, new: api.TimelineSpec) -> Iterable[FieldChange]:
    """Events and traces, each on its own; they change live, and the epoch stays."""
    before, after = ([api.to_builtins(e) for e in side.events] for side in (old, new))
    was: Any
    now: Any
    for number in range(max(len(before), len(after))):
        was, now = (side[number] if number < len(side) else None for side in (before, after))
        if was != now:
            texts = was and now and was.get("text") != now.get("text")
            yield FieldChange(
                f"events[{number}]",
                was["text"] if was and texts else was,
                now["text"] if now and texts else now,
            )
    uses = [{t.subject: t for t in side.traces} for side in (old, new)]
    for key in sorted(uses[0].keys() | uses[1].keys()):
        pair = [side.get(key) for side in uses]
        if pair[0] != pair[1]:
            was, now = (None if use is None else _trace_text(use) for use in pair)
            yield FieldChange(f"traces.{key}", was, now)


def _trace_text(use: api.TraceUse) -> str:
    words = [use.name, use.blob[:12], "" if use.loop else "once"]
    words += [f"from {use.offset_s:g} s" if use.offset_s else ""]
    words += [f"{name} times {factor:g}" for name, factor in use.scale.items()]
    words += [f"without {', '.join(use.without)}" if use.without else ""]
    return " ".join(filter(None, words))


def _with_starts(
    changes: list[Change], desired: api.MeshSpec, stopped: frozenset[str]
) -> list[Change]:
    """What was stopped starts; nothing that runs is ended for it."""
    wanted = stopped & {m.name for m in desired.modules}
    result = []
    for change in changes:
        if change.subject == "module" and change.name in wanted and change.kind != "create":
            wanted -= {change.name}
            change = replace(change, kind="start", restart=False, because=())
        result.append(change)
    return result + [Change("start", "module", name) for name in wanted]


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
    if kind == "replace" and isinstance(old, api.ModuleSpec) and isinstance(new, api.ModuleSpec):
        because = tuple(dict.fromkeys(_cause(f, old, new) for f in fields if f.needs_restart))
        return Change(kind, subject, new.name, tuple(fields), restart=True, because=because)
    return Change(kind, subject, new.name, tuple(fields))


def _cause(change: FieldChange, old: api.ModuleSpec, new: api.ModuleSpec) -> str:
    """Why a field differs, where that isn't plain from the field."""
    field, _, rest = change.field.partition(".")
    if field == "address":
        return "host" if old.host != new.host else "gets another address"
    if field not in ("streams_in", "streams_out"):
        return change.field
    ends = {end.stream: end for end in (*old.streams_in, *old.streams_out)}
    ends |= {end.stream: end for end in (*new.streams_in, *new.streams_out)}
    stream = max((name for name in ends if rest.startswith(name)), key=len, default=rest)
    what = rest.removeprefix(stream).lstrip(".")
    if not what:
        return f"stream {stream} is {'new' if change.old is None else 'gone'}"
    if what in ("address", "source_address"):
        theirs = (what == "address") == (field == "streams_out")
        return f"stream {stream}: {ends[stream].peer if theirs else 'it'} gets another address"
    return f"stream {stream}: {what}"


def _field(name: str, old: S, new: S, restarts: bool) -> list[FieldChange]:
    """The parts of one field that differ; the whole where the parts say nothing."""
    values = [{name: _named(name, api.to_builtins(getattr(item, name)))} for item in (old, new)]
    if name in _KEYS:
        _whole_where_one_sided(*(value[name] for value in values))
    before, after = map(_flatten, values)
    for side in (before, after):
        if side.get(name) == {}:  # the first part of it comes, or the last one goes
            del side[name]
    parts = [
        FieldChange(f, _plain(before.get(f)), _plain(after.get(f)), restarts)
        for f in before.keys() | after.keys()
        if before.get(f) != after.get(f)
    ]
    return parts or [FieldChange(name, values[0][name], values[1][name], restarts)]


_KEYS = {
    "streams_in": "stream", "streams_out": "stream", "files": "target", "mounts": "target",
    "volumes": "target", "weights": "name",
}  # fmt: skip
"""Lists of things that have a name of their own, and where it stands."""


def _named(field: str, value: Any) -> Any:
    """A list of named things as a dict."""
    if field not in _KEYS:
        return value
    key = _KEYS[field]
    return {item[key]: {k: v for k, v in item.items() if k != key} for item in value}


def _whole_where_one_sided(old: dict[str, Any], new: dict[str, Any]) -> None:
    """What came or went is one change, not one for each of its parts."""
    for name in old.keys() ^ new.keys():
        side = old if name in old else new
        side[name] = _Whole(side[name])


class _Whole(dict[str, Any]):
    """Isn't taken apart."""


def _plain(value: Any) -> Any:
    return dict(value) if isinstance(value, _Whole) else value


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
        if isinstance(value, dict) and value and not isinstance(value, _Whole):
            result |= _flatten(value, f"{prefix}{key}.")
        else:
            result[f"{prefix}{key}"] = value
    return result
