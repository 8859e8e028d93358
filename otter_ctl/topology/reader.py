"""Tables -> checked values by declared kinds, collecting every problem on the way. Pure.

    Kind    what a value may be: a parser and its JSON Schema
    Key     one key of a table: kind, whether required, what it means
    Table   all keys of a table
    Place   where a value stands; problems are reported to it

Must not know: which keys there are, where they stand in a file.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from otter_ctl.printable import printable

Path = tuple[str | int, ...]

ELSEWHERE: Final = {
    "affinity": "beside", "anti_affinity": "apart", "bandwidth": "rate", "bw": "rate",
    "condition": "when", "cpus": "cpu", "duration": "for", "endpoints": "between",
    "entrypoint": "command", "environment": "env", "healthcheck": "ready", "hostname": "ssh",
    "latency": "delay", "mem": "memory", "mem_limit": "memory", "networks": "links",
    "nodes": "hosts", "packet_loss": "loss", "ports": "publish", "ram": "memory",
    "repeat": "every", "replicas": "count", "scale": "count", "services": "modules",
    "trigger": "when", "volumes": "mounts",
}  # fmt: skip
"""What Compose, containerlab and their likes call it -> what we do."""

NOT_NEEDED: Final = {
    "depends_on": "leave it out: streams and `ready` wait, whatever starts first",
}
"""What they have and we have nothing like -> why not."""

_GUESSES = 100_000
"""Names compared at most to find near misses, over all problems of a file: about a second."""

PROBLEMS_LIMIT = 1000
"""Then reading ends: a file of 4 MiB can be wrong in half a million places."""

INVALID: Final = object()
"""What `Place.read` gives for a value whose problem has been reported."""


class Bad(ValueError):  # noqa: N818 - never leaves this package
    """A parser's verdict on a value; becomes a problem at the value's place."""

    def __init__(self, reason: str, hint: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        self.hint = hint


class EnoughProblems(Exception):  # noqa: N818 - ends the reading of a file, never leaves `load`
    """So many problems were reported that the rest isn't looked for."""


@dataclass(frozen=True, slots=True)
class Problem:
    """Something wrong at a path; gets its line later."""

    path: Path
    reason: str
    hint: str = ""


_MISSING = "missing key "


def is_missing(problem: Problem) -> bool:
    """Whether it is that a required key isn't there."""
    return problem.reason.startswith(_MISSING)


@dataclass(frozen=True, slots=True)
class Place:
    """A path into the file, and the list to which problems go."""

    problems: list[Problem]
    path: Path = ()

    def child(self, *keys: str | int) -> Place:
        """The place of a key or element below this one."""
        return Place(self.problems, self.path + keys)

    def report(self, reason: str, hint: str = "") -> None:
        """Note what is wrong here.

        Raises:
            EnoughProblems: There are `PROBLEMS_LIMIT` now.
        """
        self.problems.append(Problem(self.path, reason, hint))
        if len(self.problems) >= PROBLEMS_LIMIT:
            raise EnoughProblems

    def read(self, kind: Kind, value: object) -> Any:
        """`value` as `kind` has it, or `INVALID` after reporting why not."""
        try:
            return kind.parse(value, self)
        except Bad as bad:
            self.report(bad.reason, bad.hint)
            return INVALID


@dataclass(frozen=True, slots=True)
class Kind:
    """What a value may be.

    Attributes:
        parse: Gives the value checked, raises `Bad`, or returns `INVALID` after reporting.
        schema: Its JSON Schema.
    """

    parse: Callable[[object, Place], Any]
    schema: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Key:
    """One key of a table.

    Attributes:
        doc: What it means, one line, for the schema and the docs.
        built: False: known, but refused by name in this version.
        default: What holds where it is left out, as one would write it; None: there is no such.
    """

    name: str
    kind: Kind
    doc: str
    required: bool = False
    built: bool = True
    default: str | int | float | bool | None = None


class Table:
    """All keys of a table.

    Attributes:
        one_by_one: Of defaults: keys that only the tables have that they are for.
    """

    def __init__(self, title: str, *keys: Key) -> None:
        self.title = title
        self.keys = {key.name: key for key in keys}
        self.one_by_one: frozenset[str] = frozenset()

    def only(self, title: str, *names: str) -> Table:
        """The same keys, but just these, and none required: for defaults."""
        table = Table(title, *(replace(self.keys[name], required=False) for name in names))
        table.one_by_one = frozenset(self.keys) - table.keys.keys()
        return table


@dataclass(slots=True)
class Fields:
    """A table that was read.

    Attributes:
        values: The sound ones.
        given: All known keys that are written, sound or not.
        place: Of the table: its header's.
    """

    place: Place
    values: dict[str, Any] = field(default_factory=dict)
    given: set[str] = field(default_factory=set)

    def __getitem__(self, key: str) -> Any:
        return self.values[key]

    def __contains__(self, key: object) -> bool:
        return key in self.values

    def get(self, key: str, default: Any = None) -> Any:
        """The value if it is written and sound."""
        return self.values.get(key, default)

    def over(self, defaults: Fields | None) -> Fields:
        """This table's values on top of `defaults`; tables of values merge key by key."""
        if defaults is None:
            return self
        merged = dict(defaults.values)
        for key, value in self.values.items():
            below = merged.get(key)
            if isinstance(value, dict) and isinstance(below, dict):
                value = {**below, **value}
            merged[key] = value
        for key in self.given - self.values.keys():
            merged.pop(key, None)
        return Fields(self.place, merged, self.given | defaults.given)


def read_table(table: Table, value: object, place: Place) -> Fields:
    """Every key of a table; unknown, unbuilt and missing ones are reported."""
    if not isinstance(value, dict):
        names = [key.name for key in table.keys.values() if key.built]
        hint = f"its keys are {', '.join(names[:6])}{', …' if names[6:] else ''}"
        raise Bad(f"must be a table, not {type_name(value)}", hint)
    fields = Fields(place)
    for name, raw in value.items():
        key = table.keys.get(name)
        below = place.child(name)
        if key is None and name in table.one_by_one:
            below.report(f"{shown(name)} can't be a default", "write it where it is meant")
        elif key is None:
            reason = f"unknown key {shown(name)}{did_you_mean(name, table.keys, place)}"
            below.report(reason, NOT_NEEDED.get(name, ""))
        elif not key.built:
            below.report(f"`{name}` is not built yet in this version")
        else:
            fields.given.add(name)
            parsed = below.read(key.kind, raw)
            if parsed is not INVALID:
                fields.values[name] = parsed
    for key in table.keys.values():
        if key.required and key.name not in value:
            place.report(f"{_MISSING}`{key.name}`", f"it says {key.doc[0].lower()}{key.doc[1:]}")
    return fields


def did_you_mean(word: str, known: Collection[str], place: Place) -> str:
    """`, did you mean ...?` or nothing; stops guessing where a hostile file makes it dear."""
    meant = ELSEWHERE.get(word.lower())
    if meant in known:
        return f", did you mean `{meant}`?"
    told = len(place.problems)
    if len(word) > 64 or told > 200 or len(known) * (told + 1) > _GUESSES:
        return ""
    from difflib import get_close_matches

    near = get_close_matches(word.lower(), known, n=1, cutoff=0.6)
    return f", did you mean `{near[0]}`?" if near else ""


def shown(value: object) -> str:
    """A value in backquotes: printable, one line, at most about 50 characters."""
    return f"`{printable(value if isinstance(value, str) else repr(value), 48)}`"


def type_name(value: object) -> str:
    """What TOML calls the type of a value, with its article."""
    names: dict[type, str] = {
        bool: "a true/false", str: "a string", int: "an integer", float: "a number",
        list: "an array", dict: "a table",
    }  # fmt: skip
    return names.get(type(value), "a date or time")
