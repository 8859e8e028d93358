"""How values are checked: texts, names, numbers, quantities, and arrays and tables of them. Pure.

Each kind is a parser that raises `Bad` with a reason, and its JSON Schema. Must not know: keys.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sized
from typing import Any

from net import units
from otter_ctl.topology.model import NAME_LIMIT
from otter_ctl.topology.reader import (
    INVALID,
    Bad,
    Fields,
    Kind,
    Place,
    Table,
    read_table,
    shown,
    type_name,
)

_NAME = re.compile(r"[a-z0-9][a-z0-9_-]*\Z")
STRING_LIMIT = 4096
"""Characters of any other text: PATH_MAX, more than every name, glob and reference needs."""

ENTRIES_LIMIT = 1000
"""Of an array or table of plain values: defaults give them to thousands of modules."""

TEXT = {"type": "string", "minLength": 1, "maxLength": STRING_LIMIT}


def whole(pattern: str) -> str:
    """A regular expression for all of a text, as JSON Schema wants it."""
    return f"^(?:{pattern})$"


def text(value: object, limit: int = STRING_LIMIT) -> str:
    """A string that a system call can take: not empty, no NUL."""
    if not isinstance(value, str):
        raise Bad(f"must be a string, not {type_name(value)}")
    if not value:
        raise Bad("must not be empty")
    if "\0" in value:
        raise Bad("must not contain a NUL character")
    if len(value) > limit:
        raise Bad(f"must not be longer than {limit} characters")
    return value


def scalar(parse: Callable[[Any], Any], **schema: Any) -> Kind:
    """A kind whose parser needs no place."""
    return Kind(lambda value, _: parse(value), schema)


def name(limit: int = NAME_LIMIT) -> Kind:
    """A name of lower-case letters, digits, `_` and `-`."""
    return scalar(
        lambda value: checked_name(text(value), limit),
        type="string", pattern="^[a-z0-9][a-z0-9_-]*$", maxLength=limit,
    )  # fmt: skip


def checked_name(value: str, limit: int = NAME_LIMIT) -> str:
    """`value` if it is a good name; raises `Bad`."""
    if len(value) > limit:
        raise Bad(f"name {shown(value)} is longer than {limit} characters")
    if not _NAME.match(value):
        raise Bad(f"name {shown(value)} must be of a-z, 0-9, `_` and `-`, a letter or digit first")
    if value == "localhost":
        raise Bad("name `localhost` is taken: it means the module itself")
    return value


def number(least: float, most: float) -> Kind:
    """A finite number in a range."""

    def parse(value: object) -> float:
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise Bad(f"must be a number, not {type_name(value)}")
        if not math.isfinite(value) if isinstance(value, float) else abs(value) > 1e18:
            raise Bad("must be a finite number")
        if not least <= value <= most:
            raise Bad(f"must be between {least:g} and {most:g}")
        return float(value)

    return scalar(parse, type="number", minimum=least, maximum=most)


def integer(least: int, most: int) -> Kind:
    """An integer in a range."""

    def parse(value: object) -> int:
        if isinstance(value, bool) or not isinstance(value, int):
            raise Bad(f"must be an integer, not {type_name(value)}")
        if not least <= value <= most:
            raise Bad(f"must be between {least} and {most}")
        return value

    return scalar(parse, type="integer", minimum=least, maximum=most)


def only_true(value: object) -> bool:
    """A switch that means something only when on."""
    if value is not True:
        raise Bad("must be true, or be left out")
    return True


def quantity(
    parse: Callable[[Any], Any],
    accepts: str,
    pattern: str,
    *,
    plain: Mapping[str, Any] | None = None,
    least: float = 0,
    limit: str = "",
) -> Kind:
    """A number with a unit, as `net.units` reads it.

    Args:
        parse: Of `net.units`.
        accepts: What it reads, in words.
        pattern: What it reads, as a regular expression.
        plain: JSON Schema of the numbers that need no unit; None: all need one.
        least: Smallest value.
        limit: That, in words.
    """

    def checked(value: object) -> Any:
        if isinstance(value, bool) or not isinstance(value, (str, int, float)):
            raise Bad(f"must be {accepts}, not {type_name(value)}")
        try:
            result = parse(value)
        except units.UnitError as exc:
            raise Bad(exc.message, exc.hint) from exc
        if result < least:
            raise Bad(f"must be {limit}")
        return result

    schema = {"type": "string", **(plain or {})}
    return scalar(checked, **schema, pattern=whole(pattern))


def choice(*words: str) -> Kind:
    """One of some words."""

    def parse(value: object) -> str:
        word = text(value)
        if word not in words:
            raise Bad(f"{shown(word)} is not one of {', '.join(words)}")
        return word

    return scalar(parse, enum=list(words))


def format_version(newest: int) -> Kind:
    """The version of the format; a newer file is told apart from a wrong one."""

    def parse(value: object) -> int:
        if isinstance(value, int) and value > newest:
            raise Bad(f"this otterctl reads format {newest} at most", "upgrade it")
        return int(integer(1, newest).parse(value, Place([])))

    return scalar(parse, type="integer", minimum=1, maximum=newest)


def _is_plain(value: str) -> bool:
    """Whether a text can be shown in quotes as it is."""
    return value.isprintable() and not {'"', "\\"} & {*value} and len(value) <= 40


def check_entries(value: Sized, most: int = ENTRIES_LIMIT) -> None:
    """Raise `Bad` if they are too many."""
    if len(value) > most:
        raise Bad(f"must not have more than {most} entries, these are {len(value)}")


def array(item: Kind, *, least: int = 0) -> Kind:
    """An array of one kind, as a tuple."""

    def parse(value: object, place: Place) -> Any:
        if not isinstance(value, list):
            hint = f'write ["{value}"]' if isinstance(value, str) and _is_plain(value) else ""
            raise Bad(f"must be an array, not {type_name(value)}", hint)
        if len(value) < least:
            raise Bad("must not be empty")
        check_entries(value)
        items = [place.child(i).read(item, raw) for i, raw in enumerate(value)]
        return INVALID if INVALID in items else tuple(items)

    schema = {"items": item.schema, "minItems": least, "maxItems": ENTRIES_LIMIT}
    return Kind(parse, {"type": "array", **schema})


def one_or_many(item: Kind) -> Kind:
    """One value or an array of such, as a tuple."""
    many = array(item, least=1)

    def parse(value: object, place: Place) -> Any:
        if isinstance(value, list):
            return many.parse(value, place)
        one = item.parse(value, place)
        return INVALID if one is INVALID else (one,)

    return Kind(parse, {"anyOf": [item.schema, many.schema]})


def table(keys: Table) -> Kind:
    """A table with declared keys, as `Fields`."""
    return Kind(lambda value, place: read_table(keys, value, place), {"table": keys})


def named_tables(keys: Table, *, least: int = 0) -> Kind:
    """`[title.NAME]` tables, as a dict of `Fields` by name."""

    def parse(value: object, place: Place) -> Any:
        if not isinstance(value, dict):
            raise Bad(f"must be tables [{keys.title}.NAME], not {type_name(value)}")
        if len(value) < least:
            raise Bad(f"must hold at least one table [{keys.title}.NAME]")
        result = {}
        for key, raw in value.items():
            below = place.child(key)
            fields = below.read(table(keys), raw)
            if below.read(NAME, key) is not INVALID:  # a broken table still has its name
                result[key] = Fields(below) if fields is INVALID else fields
        return result

    pattern = {"^[a-z0-9][a-z0-9_-]*$": {"table": keys}}
    return Kind(
        parse, {"type": "object", "patternProperties": pattern, "additionalProperties": False}
    )


def array_of_tables(keys: Table) -> Kind:
    """`[[title]]` tables, as a list of `Fields`."""

    def parse(value: object, place: Place) -> Any:
        if not isinstance(value, list):
            raise Bad(
                f"must be an array of tables, not {type_name(value)}", f"write [[{keys.title}]]"
            )
        read = [place.child(i).read(table(keys), raw) for i, raw in enumerate(value)]
        return [fields for fields in read if fields is not INVALID]

    return Kind(parse, {"type": "array", "items": {"table": keys}})


NAME = name()
