"""`weights` of modules: names, and where each model's files come from. Pure.

    "hub:OWNER/NAME", "hub:OWNER/NAME@REVISION"    the model hub
    "package:NAME==VERSION"                        a Python package that carries them
    anything else                                  a folder, relative to the topology

Must not know: files, positions.
"""

from __future__ import annotations

import re
from typing import Any

from otter_ctl.topology.kinds import TEXT, check_entries, text, whole
from otter_ctl.topology.model import Weights
from otter_ctl.topology.reader import INVALID, Bad, Kind, Place, shown, type_name

_PART = r"[A-Za-z0-9_][A-Za-z0-9._-]{0,95}"
_HUB = re.compile(
    rf"hub:(?P<repo>(?:{_PART}/)?{_PART})(?:@(?P<revision>[A-Za-z0-9_][A-Za-z0-9._/-]{{0,127}}))?"
)
_PACKAGE = re.compile(r"package:([A-Za-z0-9][A-Za-z0-9._-]{0,95}==[A-Za-z0-9.+!_-]{1,64})")
_LIMIT = 100
DEFAULT_REVISION = "main"
_HINT = 'write such as "hub:openai/whisper-tiny.en", "package:NAME==1.0", or a folder'


def one(name: str, source: str) -> Weights:
    """Weights as written.

    Raises:
        Bad: The source is none.
    """
    if source.startswith("hub:"):
        found = _HUB.fullmatch(source)
        if found is None:
            raise Bad(
                f"{shown(source)} names no model of the hub", 'write "hub:OWNER/NAME@REVISION"'
            )
        return Weights(name=name, hub=found["repo"], revision=found["revision"] or DEFAULT_REVISION)
    if source.startswith("package:"):
        found = _PACKAGE.fullmatch(source)
        if found is None:
            raise Bad(f"{shown(source)} names no package", 'write "package:NAME==VERSION"')
        return Weights(name=name, package=found[1])
    return Weights(name=name, folder=source)


def _parse(value: object, place: Place) -> Any:
    """A tuple of `Weights`, whose folders are as written."""
    if not isinstance(value, dict):
        raise Bad(f"must be a table, not {type_name(value)}", 'write { "NAME" = "hub:OWNER/NAME" }')
    check_entries(value, _LIMIT)
    found = [place.child(key).read(_ONE, (key, raw)) for key, raw in value.items()]
    return INVALID if INVALID in found else tuple(found)


def _read(value: Any, place: Place) -> Weights:
    key, raw = value
    if not re.fullmatch(_PART, key):
        raise Bad(f"{shown(key)} is no plain name (letters, digits, `_`, `.` and `-`)")
    try:
        return one(key, text(raw))
    except Bad as bad:
        raise Bad(bad.reason, bad.hint or _HINT) from None


_ONE = Kind(_read, {})
WEIGHTS = Kind(
    _parse,
    {
        "type": "object",
        "propertyNames": {"pattern": whole(_PART)},
        "additionalProperties": TEXT,
        "maxProperties": _LIMIT,
    },
)
