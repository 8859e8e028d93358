"""Which changes of a module mean another instance of it. Pure."""

from __future__ import annotations

import msgspec

from otter_agent.api.base import digest, to_builtins
from otter_agent.api.spec import ModuleSpec

LIVE_FIELDS = frozenset({"cpu", "memory_bytes", "restart", "outputs", "ready", "publish"})
"""Of a module: these change without a restart."""
_REQUIRED = msgspec.NODEFAULT


def instance_digest(module: ModuleSpec) -> str:
    """Changes exactly when the running instance must be replaced.

    What changes live doesn't count, and neither does a field that has its default: a newer
    version's new fields restart nothing.
    """
    fields = {
        field.name: to_builtins(getattr(module, field.name))
        for field in msgspec.structs.fields(module)
        if field.name not in LIVE_FIELDS
        and (field.default is _REQUIRED or getattr(module, field.name) != field.default)
    }
    return digest(msgspec.json.encode(fields, order="sorted"))[:16]
