"""Array types on the wire: numpy's own short names, and lists of fields for structured ones. Pure.

    "<f4"   [["time", "<M8[ns]"], ["position", "<f4", [3]], ["", "|V4"]]

Only what every platform lays out alike: no objects (that would be pickle), no long double (80 bits
here, 128 there), no extension type (bfloat16 shows as void). Must not know: arrays, messages.
"""

from __future__ import annotations

import re
from typing import Any

import numpy as np

from net.errors import RemoteWireError

MAX_FIELDS = 256
"""Most fields of a structured type, inner ones included."""
MAX_DIMENSIONS = 32
_MAX_DEPTH = 8
_NAME = 300

_PLAIN = re.compile(
    r"\|b1|\|[iu]1|[<>][iu][248]|[<>]f[248]|[<>]c(?:8|16)|\|S[1-9]\d{0,8}|[<>]U[1-9]\d{0,8}"
    r"|[<>][mM]8(?:\[(?:[1-9]\d{0,8})?(?:Y|M|W|D|h|m|s|ms|us|ns|ps|fs|as)\])?"
)
_PADDING = re.compile(r"\|V[1-9]\d{0,8}")


def describe(dtype: np.dtype[Any]) -> Any:
    """The type as JSON can say it; None: it isn't one that is sent."""
    if dtype.fields is None:
        text = dtype.str
        return text if _PLAIN.fullmatch(text) else None
    try:
        fields = _listed(dtype.descr)
        same = fields is not None and parse(fields) == dtype
    except (ValueError, RemoteWireError):  # overlapping fields, or out of order
        return None
    return fields if same else None


def _listed(descr: list[Any]) -> list[Any] | None:
    fields: list[Any] = []
    for name, form, *shape in descr:
        if not isinstance(name, str):  # a title
            return None
        inner = _listed(form) if isinstance(form, list) else form
        fields.append([name, inner, *map(list, shape)])
    return fields


def parse(form: object) -> np.dtype[Any]:
    """The type that a peer describes.

    Raises:
        RemoteWireError: It isn't one that is sent. Only checked words reach numpy's own parser.
    """
    try:
        return _checked(form, [0], 0)
    except (TypeError, ValueError, OverflowError) as exc:
        raise _refused(form) from exc


def _checked(form: object, count: list[int], depth: int) -> np.dtype[Any]:
    if isinstance(form, str):
        if not _PLAIN.fullmatch(form):
            raise _refused(form)
        return np.dtype(form)
    if not isinstance(form, list) or not form or depth >= _MAX_DEPTH:
        raise _refused(form)
    count[0] += len(form)
    if count[0] > MAX_FIELDS:
        raise RemoteWireError(f"an array type with more than {MAX_FIELDS} fields")
    names: list[str] = []
    formats: list[Any] = []
    offsets: list[int] = []
    at = 0
    for field in form:
        name, inner = _field(field, count, depth)
        if name:
            names.append(name)
            formats.append(inner)
            offsets.append(at)
        at += inner.itemsize
    said = {"names": names, "formats": formats, "offsets": offsets, "itemsize": at}
    return np.dtype(said)  # type: ignore[call-overload, no-any-return]


def _field(field: object, count: list[int], depth: int) -> tuple[str, np.dtype[Any]]:
    """A field's name and type; no name: bytes between fields."""
    if not isinstance(field, list) or len(field) not in (2, 3):
        raise _refused(field)
    name, form, *rest = field
    if not isinstance(name, str) or len(name) > _NAME:
        raise _refused(field)
    if not name:
        if rest or not isinstance(form, str) or not _PADDING.fullmatch(form):
            raise _refused(field)
        return "", np.dtype(form)
    inner = _checked(form, count, depth + 1)
    return name, np.dtype((inner, shape(rest[0]))) if rest else inner


def shape(sizes: object) -> tuple[int, ...]:
    """The shape that a peer describes.

    Raises:
        RemoteWireError: It makes no sense.
    """
    if (
        not isinstance(sizes, list)
        or len(sizes) > MAX_DIMENSIONS
        or not all(type(n) is int and 0 <= n < 2**62 for n in sizes)
    ):
        raise RemoteWireError("malformed array shape")
    return tuple(sizes)


def _refused(form: object) -> RemoteWireError:
    return RemoteWireError(f"array type {form!r:.60} isn't allowed")
