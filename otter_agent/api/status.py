"""Observed state: what an agent tells of a mesh and of what happened. Pure data."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec

from otter_agent.api.base import Data, MeshState, ModuleState
from otter_agent.api.facts import MachineFacts
from otter_agent.api.gpus import GpuGrant
from otter_agent.api.many import TunnelState
from otter_agent.api.spec import CellMember, MeshSpec, Publish
from otter_agent.api.timeline import TimelineState


class Budget(Data, frozen=True):
    """What is asked of, or in force for, a host or module. None: unlimited."""

    cpu: float | None = None
    """Cores."""
    memory_bytes: int | None = None
    pids: int | None = None
    period_s: float | None = None
    """CFS period; only meaningful for what is in force."""
    gpu_share: float | None = None
    """Of a module: its weight among all that take turns of a GPU (`net.lease()`)."""
    speed: float | None = None
    """Of one core of a host, where one is asked; of what is in force: of the machine's cores."""
    read_bytes_per_s: int | None = None
    """From each disk of the machine, as the three below."""
    write_bytes_per_s: int | None = None
    read_iops: int | None = None
    write_iops: int | None = None
    in_bps: float | None = None
    """What modules receive, bit/s of packets; of a host all its modules together."""
    out_bps: float | None = None
    storage_bytes: int | None = None
    """Of modules: what the work folder may hold."""


class HostStatus(Data, frozen=True):
    """A host in `status --json`; `cpu` and `memory_bytes` are those in force."""

    name: str
    machine: str
    address: str
    cpu: float | None
    memory_bytes: int | None
    asked: Budget
    in_force: Budget
    gateway: bool = False
    layers: dict[str, dict[str, Any]] = msgspec.field(default_factory=dict)
    """Who asks what, as in `BudgetStatus`."""
    reverts_in_s: float | None = None
    """When the next change by hand ends by itself."""
    error: str = ""
    """Why its budget isn't as asked."""
    note: str = ""
    """What isn't limited as well as one may think."""


class ModuleStatus(Data, frozen=True):
    """A module in `status --json`."""

    name: str
    host: str
    address: str
    runtime: str
    state: ModuleState
    restarts: int
    pid: int | None
    exit_code: int | None = None
    reason: str = ""
    """Why it isn't ready: what it waits for, or what failed. One line."""
    published: tuple[Publish, ...] = ()
    """Its ports that are reachable from outside."""
    overdue: bool = False
    """It runs, but not as asked: not ready in its time, or with other limits."""
    asked: Budget = Budget()
    """Its own limits; its host's hold as well."""
    in_force: Budget = Budget()
    """Read back from the kernel; nothing while it doesn't run."""
    layers: dict[str, dict[str, Any]] = msgspec.field(default_factory=dict)
    """Who asks for which limits, as in `BudgetStatus`."""
    reverts_in_s: float | None = None
    """When the next change of them by hand ends by itself."""
    note: str = ""
    """What isn't limited as well as one may think."""
    log_tail: tuple[str, ...] = ()
    """Last lines of its log; filled when it failed or restarts."""
    image: str = ""
    """What runs: image id, or environment id."""
    gpu: GpuGrant | None = None
    """The GPUs that it was given, and what holds it to its part; None: it asks for none."""


class LinkCounters(Data, frozen=True):
    """What one direction of a link did since it was made, as its driver counts it."""

    packets: int = 0
    """That left it, at its far end."""
    bytes: int = 0
    """Of IP packets, of those."""
    dropped: dict[str, int] = msgspec.field(default_factory=dict)
    """Cause -> packets: `loss`, `queue`, `aqm`, `down`, `other`; which nobody asked for: `overrun`,
    this machine was too slow to take them, and `room`, its memory for links was full."""
    duplicated: int = 0
    corrupted: int = 0
    marked: int = 0
    waiting_packets: int = 0
    """In its queue and under way, now."""
    waiting_bytes: int = 0
    queue_delay_s: float | None = None
    """How long what comes now would wait for the rate that is asked; None: none is."""
    use_ratio: float | None = None
    """Of that rate, since it was counted before, a second ago or more; None: not known yet."""
    late_max_s: float | None = None
    """By how much a packet was let go after its time, at most; None: not measured."""
    late_mean_s: float | None = None


class LinkStatus(Data, frozen=True, rename={"from_": "from"}):
    """One direction of a link in `status --json`."""

    name: str
    from_: str
    to: str
    driver: str
    """What shapes it; `none`: nothing, as nothing is asked or nothing works here."""
    asked: dict[str, Any]
    """Now, by all layers together: fields of `net.links.spec.LinkSpec`."""
    applied: dict[str, Any] | None
    """In force, read back; None: not known, or not there yet."""
    layers: dict[str, dict[str, Any]] = msgspec.field(default_factory=dict)
    """Who asks: `topology`, `timeline`, `shape` (by hand), each over the one before. A value of
    None takes away what the layers below ask."""
    reverts_in_s: float | None = None
    """When the next change by hand ends by itself; None: none does."""
    lacks: dict[str, str] = msgspec.field(default_factory=dict)
    """Field -> why it can't be had here, where the topology allows that."""
    error: str = ""
    """Why it isn't as asked."""
    counters: LinkCounters | None = None
    """Only in the answers of `GET`, and where the driver can tell."""
    tunnel: TunnelState | None = None
    """How it gets to another machine, if it does."""


class Doubt(Data, frozen=True):
    """A cause for which a run wasn't what was asked for."""

    cause: str
    """`late`, `waiting`, `overrun`, `room`, `gap`, `changes`."""
    text: str
    """Of the last time, for people."""
    since: float
    """When it was first so, and last: seconds since 1970."""
    until: float
    seconds: float
    """For how long together."""


class Fidelity(Data, frozen=True):
    """Whether what carried a run's links kept up: `fidelity` in `status --json`."""

    run: str = ""
    valid: bool = True
    """False: for some time of the run links were something else than was asked."""
    why: tuple[Doubt, ...] = ()
    checked_s: float = 0.0
    """How much of the run was looked at."""


class CellStatus(Data, frozen=True):
    """A cell in `status --json`."""

    name: str
    host: str
    half_duplex: bool
    uplink_bps: float | None
    """Its capacity now, for a member of efficiency 1, from members to the host; None: members
    differ, as some of their links were changed by themselves."""
    downlink_bps: float | None
    members: tuple[CellMember, ...]
    present: tuple[str, ...] = ()
    """Those whose link is up now: others are in another cell, or between two."""


class LinkChange(Data, frozen=True, omit_defaults=True):
    """One change by hand in the body of `PATCH /v1/meshes/NAME/links`."""

    link: str = "*"
    """Name or glob."""
    direction: str = ""
    """`A>B`; empty: both ways."""
    set: dict[str, Any] = msgspec.field(default_factory=dict)
    """Fields of `LinkSpec`; None takes away what the topology asks. All others stay."""
    for_s: float | None = None
    """After so long it is as if it had never been; None: it lasts."""
    reset: bool = False
    """Undo all former changes by hand first."""


PARTS = ("output", "sending", "link", "queue", "total")
"""Where the time of a stream's messages goes: docs/transport.md."""


_Seconds = Annotated[float, msgspec.Meta(ge=0, le=1e15)]


class Latency(Data, frozen=True):
    """Of one part of the way, over all messages of a module's life."""

    mean_s: _Seconds
    p50_s: _Seconds
    """Right within a factor of two, as `p99_s`."""
    p99_s: _Seconds
    max_s: _Seconds


class StreamStatus(Data, frozen=True, rename={"from_": "from"}):
    """A stream in `status --json`: what its two modules tell of it, each of its present life."""

    name: str
    from_: str
    """The sending module."""
    to: str
    """The receiving module."""
    asked: str
    """The transport that the topology asks for."""
    transport: str = ""
    """The transport that carries it; empty: neither module has told."""
    messages: int = 0
    """That the receiver took."""
    sent: int = 0
    bytes: int = 0
    """Of those that the receiver took, on the wire."""
    rate_per_s: float = 0.0
    """Messages that the receiver took lately."""
    bytes_per_s: float = 0.0
    waiting: int = 0
    """Messages in the receiver's queue."""
    unsent: int = 0
    """Messages that the sender holds: unsent, or not acknowledged."""
    dropped: int = 0
    """By the stream's policy, at either end."""
    expired: int = 0
    duplicates: int = 0
    """That came again, and were dropped."""
    resent: int = 0
    reconnects: int = 0
    latency: dict[str, Latency] = msgspec.field(default_factory=dict)
    """Part of the way -> its times; `PARTS` are all there can be."""
    extra: dict[str, dict[str, float]] = msgspec.field(default_factory=dict)
    """`sender` or `receiver` -> what only this transport counts."""


class RecordLine(Data, frozen=True):
    """A line of a module's message records, as it is."""

    module: str
    line: str


class MachineStatus(Data, frozen=True):
    """A machine in `status --json`."""

    name: str
    reachable: bool
    version: str
    user: str = ""
    """Who runs its agent, where that isn't root."""
    lacks: tuple[str, ...] = ()
    """What such an agent lacks there, a line each: `budgets: …`."""
    why: str = ""
    """Why it gives no answer."""
    clock_offset_s: float | None = None
    """By how much its clock is ahead of the controller's; None: not measured."""
    clock_error_s: float | None = None
    """At most so much more or less."""
    facts: MachineFacts | None = None
    """What it has; None: it gives no answer."""
    link_driver: str = ""
    """The one that shapes this mesh's links there; `none`: none works."""
    link_driver_why: str = ""
    """Why it is this one."""
    link_error_s: float | None = None
    """The error of a delay to expect of it, median; None: unknown."""


class MeshStatus(Data, frozen=True):
    """The answer of `GET /v1/meshes/NAME`: what is asked, and what is."""

    mesh: str
    state: MeshState
    generation: int
    """Counts changes of the desired state; `settled` says which one has been reached."""
    settled: int
    machines: tuple[MachineStatus, ...]
    hosts: tuple[HostStatus, ...]
    modules: tuple[ModuleStatus, ...]
    links: tuple[LinkStatus, ...]
    spec: MeshSpec
    cells: tuple[CellStatus, ...] = ()
    fidelity: Fidelity = Fidelity()
    problem: str = ""
    """What keeps the mesh as a whole from converging (network, budgets); one line."""
    owner: str = ""
    """Name of the user who made the mesh, on the agent's machine."""
    changed_by: str = ""
    """Name of the user who changed it last."""
    overcommit: str = ""
    """Why budgets may not be had in full (`3 of 2 cores`), or that the topology allows it."""
    streams: tuple[StreamStatus, ...] = ()
    """Only in the answer of `GET`."""
    timeline: TimelineState = "waiting"
    """Where its timeline stands; it waits until all modules are ready."""


class MeshSummary(Data, frozen=True):
    """One line of `ls`."""

    mesh: str
    state: MeshState
    run: str
    hosts: int
    modules: int
    ready: int
    owner: str = ""
    """Name of the user who made the mesh, on the agent's machine."""
    mine: bool = True
    """Whether that is who asks."""
    overcommit: str = ""
    """As in `MeshStatus`."""
    cpu: float = 0.0
    """Cores, the budgets of its hosts together; hosts without one hold nothing."""
    memory_bytes: int = 0


class Event(Data, frozen=True):
    """Something that happened: one line of `events` and of the watch stream."""

    seq: int
    time: float
    """Seconds since 1970, UTC."""
    mesh: str
    kind: str
    """`module`, `host`, `network`, `image`, `mesh`, `agent`, `link`, `timeline`, `fidelity`; of
    controllers that follow several machines also `machine`."""
    subject: str
    """Name of the module, host, link or machine; the mesh's own name otherwise."""
    text: str
    state: str = ""
    """A module's new state, if this event is a change of state."""
    data: dict[str, Any] = msgspec.field(default_factory=dict)
    """For programs: of a link `layer`, `requested` and `applied`, in SI units."""
    machine: str = ""
    """Where it happened; said by controllers that follow several machines."""


class Results(Data, frozen=True):
    """What the results of a module are to be: the first member of their tar, `report.json`."""

    files: int
    """Outputs."""
    size_bytes: int
    unmatched: tuple[str, ...] = ()
    """Patterns of `outputs` that match nothing."""
    left_out: tuple[str, ...] = ()
    """Folders that are too deep, a line each."""


class LogLine(Data, frozen=True):
    """One line that a module wrote."""

    module: str
    text: str
    time: float | None = None
    """Seconds since 1970 where the runtime records it."""
