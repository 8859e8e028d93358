"""Types of the API: a controller of a thousand machines has a million of their values."""

from __future__ import annotations

import gc

from otter_agent import api


def test_garbage_is_not_looked_for_in_what_was_told() -> None:
    module = api.ModuleSpec(
        name="m", host="h", address="10.0.0.2", runtime="fake", env={"A": "b"}, outputs=("*.txt",)
    )
    spec = api.MeshSpec(name="mesh", run="r", hosts=(), modules=(module,))
    told = api.decode(api.encode(spec), api.MeshSpec)
    assert told == spec
    assert not gc.is_tracked(told)
    assert not gc.is_tracked(told.modules[0])
