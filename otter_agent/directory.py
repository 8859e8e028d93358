"""The directory of a mesh on many machines: an upload that its parts share. Reads it; see `api`."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from otter_agent import api
from otter_agent.errors import AgentError
from otter_agent.layout import Layout


def read(layout: Layout, spec: api.MeshSpec) -> api.Directory:
    """Of a part that has one.

    Raises:
        AgentError: It isn't there, or is none.
    """
    try:
        found = api.decode((layout.blobs / spec.directory).read_bytes(), api.Directory)
        api.check_names(found.names)
    except FileNotFoundError as error:
        why = f"the directory of mesh {spec.name} is gone"
        raise AgentError("missing-blobs", why, hint="apply the topology again") from error
    except msgspec.MsgspecError as error:
        raise AgentError("bad-request", f"the directory of mesh {spec.name}: {error}") from error
    return found


def names(layout: Layout, spec: api.MeshSpec) -> Mapping[str, str]:
    """Every host and module of a mesh -> its address, wherever that stands."""
    return read(layout, spec).names if spec.directory else spec.names
