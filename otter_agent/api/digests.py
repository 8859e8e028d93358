"""Which changes of a module mean another instance of it. Pure."""

from __future__ import annotations

from functools import cache

import msgspec

from otter_agent.api.base import digest, to_builtins
from otter_agent.api.spec import ModuleSpec

LIVE_FIELDS = frozenset(
    {
        *("cpu", "memory_bytes", "restart", "outputs", "ready", "publish", "gpu_share"),
        *("read_bytes_per_s", "write_bytes_per_s", "read_iops", "write_iops"),
        *("in_bps", "out_bps"),
    }
)
"""Of a module: these change without a restart."""
_REQUIRED = msgspec.NODEFAULT


@cache
def _fields() -> tuple[msgspec.structs.FieldInfo, ...]:
    """Those that count; asking msgspec evaluates all annotations, which takes 2 ms."""
    return tuple(f for f in msgspec.structs.fields(ModuleSpec) if f.name not in LIVE_FIELDS)


def instance_digest(module: ModuleSpec) -> str:
    """Changes exactly when the running instance must be replaced.

    What changes live doesn't count, and neither does a field that has its default: a newer
    version's new fields restart nothing.
    """
    fields = {
        field.name: to_builtins(getattr(module, field.name))
        for field in _fields()
        if field.default is _REQUIRED or getattr(module, field.name) != field.default
    }
    return digest(msgspec.json.encode(fields, order="sorted"))[:16]
