"""The values of this format: queues, references, stream ends, paths, variables, files. Pure.

Must not know: which key holds which.
"""

from __future__ import annotations

import re
from typing import Any

from net import units
from otter_ctl.topology.globs import is_glob
from otter_ctl.topology.kinds import (
    ENTRIES_LIMIT,
    TEXT,
    check_entries,
    checked_name,
    integer,
    number,
    only_true,
    quantity,
    scalar,
    text,
    whole,
)
from otter_ctl.topology.reader import (
    INVALID,
    Bad,
    Kind,
    Place,
    Table,
    read_table,
    shown,
    type_name,
)

_ENV_NAME = r"[A-Za-z_][A-Za-z0-9_]*"
_GLOB = re.compile(r"[a-z0-9_*?\[\]!-]+\Z")
_GLOB_LIMIT = 255
_WAY_LIMIT = _GLOB_LIMIT
_PACKETS = re.compile(r"\s*([0-9]{1,9})\s*packets?\s*\Z")
_BARE = re.compile(r"\s*[0-9]+(\.[0-9]+)?\s*\Z")
_IMAGE = r"[A-Za-z0-9][A-Za-z0-9._/:@-]*"
_IMAGE_LIMIT = 255
_OWN_ENV = frozenset({"OTTER_WIRING", "OTTER_STATE", "OTTER_WORK", "OTTER_MODELS", "OTTER_WEIGHTS"})
_FILES_LIMIT = 10_000
_WORDS_LIMIT = 10_000
_ENV_LIMIT = 128 << 10
"""Bytes of `NAME=value` with its end mark: MAX_ARG_STRLEN of execve(2)."""


def _queue(value: object) -> tuple[str, float | int]:
    """The LinkSpec field that a queue's size goes to (time, bytes or packets), and the size."""
    accepts = 'write a time ("50ms"), a size ("64KiB") or "100 packets"'
    if not isinstance(value, str):
        raise Bad(f"must be a string, not {type_name(value)}: {accepts}")
    if _BARE.match(value):
        raise Bad(f"{shown(value)} has no unit: {accepts}")
    packets = _PACKETS.match(value)
    if packets:
        return "queue_packets", int(packets[1])
    try:
        return "queue_s", units.duration(value)
    except units.UnitError:
        pass
    try:
        return "queue_bytes", units.size(value)
    except units.UnitError:
        raise Bad(f"{shown(value)} is not a queue's size: {accepts}") from None


def _reference(value: object) -> str:
    """The name of a host or module, or a glob of such, as another table writes it."""
    word = text(value)
    if not is_glob(word):
        return checked_name(word)
    if len(word) > _GLOB_LIMIT:
        raise Bad(f"glob {shown(word)} is longer than {_GLOB_LIMIT} characters")
    if not _GLOB.match(word):
        raise Bad(f"glob {shown(word)} must be of a-z, 0-9, `_`, `-` and `*`, `?`, `[…]`")
    return word


def _pair(value: object, place: Place) -> Any:
    if not isinstance(value, list) or len(value) != 2:
        raise Bad('must be an array of two hosts, such as ["phone", "edge"]')
    ends = [place.child(i).read(REFERENCE, item) for i, item in enumerate(value)]
    return INVALID if INVALID in ends else tuple(ends)


def _stream_end(value: object) -> tuple[str, str]:
    """`module.port`."""
    module, dot, port = text(value).partition(".")
    if not dot:
        raise Bad(f'{shown(value)} must name a module and its port, such as "asr.text"')
    return _reference(module), checked_name(port)


def _relative(value: object) -> str:
    """A path or glob that can't leave the folder it is relative to."""
    path = text(value)
    parts = path.split("/")
    if path.startswith("/") or ".." in parts:
        raise Bad(f"{shown(path)} must be relative, without `..`")
    if path.endswith("/") or all(part in ("", ".") for part in parts):
        raise Bad(f"{shown(path)} must name a file")
    return "/".join(part for part in parts if part not in ("", "."))


def _image(value: object) -> str:
    word = text(value, _IMAGE_LIMIT)
    if not re.fullmatch(_IMAGE, word):
        raise Bad(f'{shown(word)} is not an image reference such as "repo/name:tag"')
    return word


def _command(value: object, place: Place) -> Any:
    if isinstance(value, str):
        raise Bad("must be an array of strings", 'write ["program", "argument"], no shell reads it')
    if not isinstance(value, list) or not value:
        raise Bad("must be an array of at least one string")
    check_entries(value, _WORDS_LIMIT)
    words = [place.child(i).read(ARGUMENT if i else PATH, raw) for i, raw in enumerate(value)]
    return INVALID if INVALID in words else tuple(words)


def _argument(value: object) -> str:
    """A program's argument; may be empty, unlike other texts."""
    return value if value == "" and isinstance(value, str) else text(value, _ENV_LIMIT // 4)


def _env(value: object, place: Place) -> Any:
    if not isinstance(value, dict):
        raise Bad(f"must be a table of variables, not {type_name(value)}")
    check_entries(value)
    result: dict[str, str] = {}
    for key, raw in value.items():
        try:
            result[key] = _variable(key, raw)
        except Bad as bad:
            place.child(key).report(bad.reason, bad.hint)
    return result


def _variable(key: str, value: object) -> str:
    if not re.fullmatch(_ENV_NAME, key):
        raise Bad(f"{shown(key)} is not a variable's name (letters, digits and `_`)")
    if key in _OWN_ENV:
        raise Bad(f"`{key}` is set by OTTER")
    if not isinstance(value, str):
        raise Bad(f"must be a string, not {type_name(value)}", "write it in quotes")
    if "\0" in value:
        raise Bad("must not contain a NUL character")
    if len(key) + len(value.encode()) + 2 > _ENV_LIMIT:
        raise Bad("is too long for a variable (128 KiB)")
    return value


def _files(value: object, place: Place) -> Any:
    if not isinstance(value, dict):
        hint = 'write { "in.wav" = "data/in.wav" }'
        raise Bad(f"must be a table, not {type_name(value)}", hint)
    check_entries(value, _FILES_LIMIT)
    result: dict[str, tuple[str, str]] = {}
    for key, raw in value.items():
        below = place.child(key)
        target, source = below.read(RELATIVE, key), below.read(PATH, raw)
        if INVALID in (target, source):
            continue
        if target in result:
            below.report(f"is the same file as {shown(result[target][0])}")
        result[target] = (key, source)
    for target, (key, _) in result.items():
        inside = next((t for t in _parents(target) if t in result), None)
        if inside is not None:
            place.child(key).report(f"needs a folder where {shown(inside)} is a file")
    return result


def _parents(path: str) -> list[str]:
    """`a/b/c` -> `a`, `a/b`."""
    return [path[:i] for i, c in enumerate(path) if c == "/"]


def _texts(value: object, place: Place) -> Any:
    if not isinstance(value, dict):
        raise Bad(f"must be a table of strings, not {type_name(value)}")
    check_entries(value)
    found = {key: place.child(key).read(PATH, raw) for key, raw in value.items()}
    return INVALID if INVALID in found.values() else found


def by_reference(item: Kind) -> Kind:
    """A table of names or globs, each with a value of a kind."""

    def parse(value: object, place: Place) -> Any:
        if not isinstance(value, dict):
            raise Bad(f"must be a table, not {type_name(value)}", 'write { "phone" = 2 }')
        check_entries(value)
        found = {}
        for key, raw in value.items():
            below = place.child(key)
            read = below.read(REFERENCE, key), below.read(item, raw)
            if INVALID not in read:
                found[key] = read[1]
        return found

    names = {"propertyNames": {"pattern": f"^{_WORD}$"}, "maxProperties": ENTRIES_LIMIT}
    return Kind(parse, {"type": "object", "additionalProperties": item.schema, **names})


def number_or(number: Kind, other: Kind) -> Kind:
    """A number, or something that is none."""

    def parse(value: object, place: Place) -> Any:
        return (number if isinstance(value, int | float) else other).parse(value, place)

    return Kind(parse, {"anyOf": [number.schema, other.schema]})


def _way(value: object) -> tuple[str, str, str]:
    """Link, source and target, words or globs; of both directions "" for the last two."""
    word = text(value, _WAY_LIMIT)
    link, colon, direction = word.partition(":")
    source, arrow, target = direction.partition(">")
    if not colon:
        return _reference(link), "", ""
    if not arrow:
        raise Bad(f"{shown(word)} must name both ends", 'write "radio:phone>edge"')
    return _reference(link), _reference(source), _reference(target)


def short_table(keys: Table, first: str) -> Kind:
    """A table, or only the value of one of its keys, a text; either way as `Fields`."""

    def parse(value: object, place: Place) -> Any:
        if isinstance(value, str):
            return read_table(keys, {first: value}, place)
        if not isinstance(value, dict):
            raise Bad(f"must be a path or a table, not {type_name(value)}")
        return read_table(keys, value, place)

    return Kind(parse, {"anyOf": [TEXT, {"table": keys}]})


def not_empty(table: Kind) -> Kind:
    """A table with at least one key."""

    def parse(value: object, place: Place) -> Any:
        if value == {}:
            raise Bad("must not be empty")
        return table.parse(value, place)

    return Kind(parse, {**table.schema, "minProperties": 1})


def one_of(plain: Kind, table: Kind) -> Kind:
    """A table, or a value that is none."""

    def parse(value: object, place: Place) -> Any:
        return (table if isinstance(value, dict) else plain).parse(value, place)

    return Kind(parse, {"anyOf": [plain.schema, table.schema]})


def _boolean(value: object) -> bool:
    if not isinstance(value, bool):
        raise Bad(f"must be true or false, not {type_name(value)}")
    return value


def _throughput(value: str | int) -> int:
    """Bytes per second; `/s` may be left out."""
    return units.size(value.removesuffix("/s") if isinstance(value, str) else value)


_WORD = r"[a-z0-9_*?\[\]!-]+"
_TWO = {"minItems": 2, "maxItems": 2}
_PACKETS_PATTERN = r"\s*[0-9]{1,9}\s*packets?\s*"
_ZERO = {"type": ["string", "number"], "minimum": 0, "maximum": 0}
_STRING = {"type": "string"}
REFERENCE = scalar(_reference, type="string", pattern=f"^{_WORD}$", maxLength=_GLOB_LIMIT)
PAIR = Kind(_pair, {"type": "array", "items": REFERENCE.schema, **_TWO})
STREAM_END = scalar(_stream_end, type="string", pattern=rf"^{_WORD}\.[a-z0-9][a-z0-9_-]*$")
DURATION = quantity(units.duration, units.DURATION_ACCEPTS, units.DURATION_PATTERN, plain=_ZERO)
WAIT = quantity(
    units.duration,
    units.DURATION_ACCEPTS,
    units.DURATION_PATTERN,
    least=1e-3,
    limit="at least 1ms",
)
RATE = quantity(units.rate, units.RATE_ACCEPTS, units.RATE_PATTERN)
OWN_RATE = quantity(
    units.rate, units.RATE_ACCEPTS, units.RATE_PATTERN, least=8, limit="at least 8bit"
)
RATIO = quantity(
    units.ratio,
    units.RATIO_ACCEPTS,
    units.RATIO_PATTERN,
    plain={"type": ["string", "number"], "minimum": 0, "maximum": 1},
)
SHARE = quantity(
    units.ratio,
    units.RATIO_ACCEPTS,
    units.RATIO_PATTERN,
    plain={"type": ["string", "number"], "minimum": 1e-3, "maximum": 1},
    least=1e-3,
    limit="at least 0.1%",
)
MEMORY = quantity(
    units.size,
    units.SIZE_ACCEPTS,
    units.SIZE_PATTERN,
    plain={"type": ["string", "integer"], "minimum": 4 << 20},
    least=4 << 20,
    limit="at least 4MiB",
)
QUEUE = scalar(
    _queue,
    type="string",
    pattern=r"^(?!\s*[0-9.]+\s*$)"
    + whole(f"{units.DURATION_PATTERN}|{units.SIZE_PATTERN}|{_PACKETS_PATTERN}")[1:],
)
CORES = number(0.01, 10_000)
PORT = integer(1, 65535)
COMMAND = Kind(
    _command,
    {
        "type": "array",
        "prefixItems": [TEXT],
        "items": _STRING,
        "minItems": 1,
        "maxItems": _WORDS_LIMIT,
    },
)
RELATIVE = scalar(_relative, **TEXT, pattern=r"^[^/]([\s\S]*[^/])?$")
PATH = scalar(text, **TEXT)
ARGUMENT = scalar(_argument, **_STRING)
IMAGE = scalar(_image, type="string", pattern=whole(_IMAGE), maxLength=_IMAGE_LIMIT)
SWITCH = scalar(only_true, const=True)
BOOLEAN = scalar(_boolean, type="boolean")
THROUGHPUT = quantity(
    _throughput,
    'bytes per second, such as "50MB/s"',
    rf"{units.SIZE_PATTERN}(?:/s)?",
    plain={"type": ["string", "integer"], "minimum": 1},
    least=1,
    limit="at least 1 byte/s",
)
ENV = Kind(
    _env,
    {
        "type": "object",
        "propertyNames": {"pattern": whole(_ENV_NAME)},
        "additionalProperties": _STRING,
        "maxProperties": ENTRIES_LIMIT,
    },
)
FILES = Kind(
    _files, {"type": "object", "additionalProperties": TEXT, "maxProperties": _FILES_LIMIT}
)
TEXTS = Kind(
    _texts, {"type": "object", "additionalProperties": TEXT, "maxProperties": ENTRIES_LIMIT}
)
PART = number(1e-3, 1000)
NUMBERS = by_reference(PART)
WAY = scalar(_way, type="string", pattern=f"^{_WORD}(:{_WORD}>{_WORD})?$", maxLength=_WAY_LIMIT)
ANYTHING = scalar(lambda value: value)
