"""What controller and agent say to each other: pure data types and their JSON codec.

Desired state goes down as one `MeshSpec` (this machine's part of a mesh); `MeshStatus` and `Event`
come up. All quantities are SI numbers with the unit in the name. Must not know: drivers, sockets,
asyncio, the clock. The HTTP paths that carry these are in docs/architecture.md.
"""

from otter_agent.api.base import (
    API_VERSION,
    Data,
    MeshState,
    ModuleState,
    RestartPolicy,
    RuntimeName,
    decode,
    digest,
    encode,
    to_builtins,
)
from otter_agent.api.checks import (
    MAX_CORES,
    check,
)
from otter_agent.api.digests import (
    LIVE_FIELDS,
    instance_digest,
)
from otter_agent.api.machine import (
    ExecRequest,
    ImageInfo,
    Info,
    Problem,
    Pruned,
    RuntimeFact,
)
from otter_agent.api.spec import (
    Build,
    File,
    HostSpec,
    Link,
    MeshSpec,
    ModuleSpec,
    Mount,
    Publish,
    Ready,
    Route,
    StreamEnd,
    VolumeMount,
    Wiring,
)
from otter_agent.api.status import (
    Budget,
    Event,
    HostStatus,
    LinkStatus,
    LogLine,
    MachineStatus,
    MeshStatus,
    MeshSummary,
    ModuleStatus,
)

__all__ = [
    "API_VERSION",
    "LIVE_FIELDS",
    "MAX_CORES",
    "Budget",
    "Build",
    "Data",
    "Event",
    "ExecRequest",
    "File",
    "HostSpec",
    "HostStatus",
    "ImageInfo",
    "Info",
    "Link",
    "LinkStatus",
    "LogLine",
    "MachineStatus",
    "MeshSpec",
    "MeshState",
    "MeshStatus",
    "MeshSummary",
    "ModuleSpec",
    "ModuleState",
    "ModuleStatus",
    "Mount",
    "Problem",
    "Pruned",
    "Publish",
    "Ready",
    "RestartPolicy",
    "Route",
    "RuntimeFact",
    "RuntimeName",
    "StreamEnd",
    "VolumeMount",
    "Wiring",
    "check",
    "decode",
    "digest",
    "encode",
    "instance_digest",
    "to_builtins",
]
