"""What all API types share: strictness, words, the JSON codec. Pure."""

from __future__ import annotations

import hashlib
from typing import Any, Literal, TypeVar

import msgspec

API_VERSION = 8
"""Checked by both sides at connect; raised when a type of the API changes incompatibly."""

T = TypeVar("T")

RestartPolicy = Literal["no", "on-failure", "always"]
RuntimeName = Literal["docker", "process", "fake"]
ModuleState = Literal[
    "pending", "starting", "running", "ready", "done", "restarting", "failed", "stopped"
]
Order = Literal["start", "stop", "restart"]
"""What can be asked of a single module; kept until the next order or apply."""
MeshState = Literal["converging", "ready", "degraded", "destroying"]


class Data(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, gc=False):
    """Immutable, strict: an unknown field is an error, so version skew shows at once.

    It can't lead back to itself, so nobody has to look whether it does: of a thousand machines
    there are a million of them.
    """


def encode(value: Any) -> bytes:
    """JSON of any type above, one line, UTF-8."""
    return msgspec.json.encode(value)


def decode(data: bytes | str, kind: type[T]) -> T:
    """Check and read JSON.

    Raises:
        msgspec.ValidationError: The JSON doesn't describe a `kind` (a `ValueError`).
        msgspec.DecodeError: Not JSON at all (a `ValueError`).
    """
    return msgspec.json.decode(data, type=kind)


def to_builtins(value: Any) -> Any:
    """Dicts, lists and scalars, for `--json` output and diffs."""
    return msgspec.to_builtins(value)


def digest(data: bytes) -> str:
    """SHA-256 in hex: the name of a blob."""
    return hashlib.sha256(data).hexdigest()
