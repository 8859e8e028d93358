"""Desired state: what one agent has to make true of a mesh. Pure data, SI units in the names."""

from __future__ import annotations

from typing import Literal

import msgspec

from net.links.spec import LinkSpec
from otter_agent.api.base import Data, RestartPolicy, RuntimeName
from otter_agent.api.gpus import GpuAsk
from otter_agent.api.many import MTU_BYTES, Away, Tunnel, TunnelKind
from otter_agent.api.timeline import TimelineSpec

DEFAULT_ROUTE = "0.0.0.0/0"
Routing = Literal["static", "shortest"]
MadeFor = Literal["cpu", "cuda", "l4t"]


class Route(Data, frozen=True):
    """What a host's router namespace sends to one neighbour."""

    to: tuple[str, ...]
    """Destinations, CIDRs."""
    via: str
    """The neighbour host's address (on-link: links are unnumbered)."""
    link: str
    """Name of the link that leads there."""


class HostSpec(Data, frozen=True):
    """An emulated host: a resource budget and a router namespace."""

    name: str
    address: str
    """IPv4 address of the router itself, the first of `block`."""
    block: str
    """CIDR that holds the addresses of this host and of its modules."""
    cpu: float | None = None
    """Cores for all modules together; None: unlimited."""
    memory_bytes: int | None = None
    speed: float | None = None
    """Of one core; 1: the core that Geekbench 6 scores with 2500 points. None: as the machine's."""
    read_bytes_per_s: int | None = None
    write_bytes_per_s: int | None = None
    read_iops: int | None = None
    write_iops: int | None = None
    in_bps: float | None = None
    out_bps: float | None = None
    gpu_share: float | None = None
    """Of the machine's turns of a GPU; what modules have says it already. None: all of them."""
    gateway: bool = False
    """The way to and from the outside world for the whole mesh: its router has the machine's
    network behind it (NAT), and the default routes of all hosts lead to it across the links."""
    routes: tuple[Route, ...] = ()

    @property
    def reaches_out(self) -> bool:
        """Whether there is a way from here to the outside world."""
        return self.gateway or any(DEFAULT_ROUTE in route.to for route in self.routes)


class Link(Data, frozen=True):
    """A pair of devices that joins two hosts, with what is asked of each direction."""

    name: str
    a: str
    b: str
    forward: LinkSpec | None = None
    """From `a` to `b`; None: this direction was not written in the topology."""
    reverse: LinkSpec | None = None
    """From `b` to `a`."""
    tunnel: Tunnel | None = None
    """If one end is on another machine. The directions that leave there are made scarce there:
    here they are None."""
    over: TunnelKind | None = None
    """Which way the topology wants between machines, where there is one; None: whichever works."""
    subtract: bool = False
    """Whether the delay of the network between the machines is taken off its own."""


class CellMember(Data, frozen=True):
    """A host that shares a cell."""

    host: str
    link: str
    """Name of its link to the cell's host: from the member to it."""
    weight: float = 1.0
    """Its part of the time that several want."""
    efficiency: float = 1.0
    """What the cell's capacity is multiplied with while this one sends or is sent to."""


class Cell(Data, frozen=True):
    """A medium that several hosts share, for people to see and to change.

    What is shared, and how, is said by the links of its members: `medium`, `rate_bps`.
    """

    name: str
    host: str
    members: tuple[CellMember, ...]
    half_duplex: bool = False
    """Both ways share one medium."""


class Build(Data, frozen=True):
    """A module folder to make an image or an environment from."""

    context: str
    """SHA-256 (hex) of a tar of the folder, uploaded as a blob."""
    base: str = "python"
    """Name of the shared base: `python`, `torch`, `tensorflow`, …"""


class Source(Data, frozen=True):
    """A module folder shown in the place of the one that was built: see `otterctl dev`."""

    blob: str
    """SHA-256 (hex) of a tar of the folder, uploaded as a blob."""
    target: str = ""
    """Absolute folder inside; empty: where OTTER itself puts the module folder."""


class File(Data, frozen=True):
    """A file copied into a module before it starts."""

    target: str
    """Path relative to the module's work folder."""
    blob: str
    """SHA-256 (hex) of the content, uploaded as a blob."""
    executable: bool = False


class Mount(Data, frozen=True):
    """A file or folder of the machine, shown inside a module."""

    target: str
    """Absolute path inside."""
    source: str
    """Absolute path on the machine; under one of the roots that the agent's configuration allows,
    and reached through no symbolic link."""
    readonly: bool = True


class VolumeMount(Data, frozen=True):
    """A named volume, shown inside a module. It is made on first use and outlives the mesh."""

    target: str
    """Absolute path inside."""
    volume: str
    readonly: bool = False


class Weights(Data, frozen=True):
    """A model's files, kept once per machine and shown to modules read-only.

    Exactly one of `hub`, `package` and `blob`.
    """

    name: str
    """Of its folder, below `OTTER_WEIGHTS`."""
    hub: str = ""
    """`OWNER/NAME`, as the model hub has it."""
    revision: str = ""
    """With `hub`: a branch, tag or commit."""
    package: str = ""
    """`NAME==VERSION` of a Python package that carries it."""
    blob: str = ""
    """SHA-256 (hex) of a tar of the folder, uploaded as a blob."""


class Publish(Data, frozen=True):
    """A port of a module that programs outside the mesh can reach.

    What arrives enters the emulated network at `host` and crosses the links from there.
    """

    port: int
    """At the module's own address."""
    listen_port: int
    """Port of the machine."""
    host: str
    """The host at which the outside world's traffic enters."""
    protocol: Literal["tcp", "udp"] = "tcp"
    listen: str = "127.0.0.1"
    """IPv4 address of the machine; loopback unless the topology asks for more in so many words."""


class Ready(Data, frozen=True):
    """When a module counts as ready. All None/False: as soon as it runs."""

    tcp: int | None = None
    """A port at the module's address that accepts connections."""
    command: tuple[str, ...] | None = None
    """A command in the module that exits with 0."""
    sdk: bool = False
    """The module says so itself (`await mesh.ready()`)."""
    within_s: float = 300.0
    """After this long the module counts as failed to get ready."""


class StreamEnd(Data, frozen=True):
    """One stream as one of its modules sees it; also the schema of the wiring file."""

    stream: str
    """Name of the stream, `asr.text>vqa.question`."""
    port_name: str
    """This module's own input or output: `question`."""
    peer: str
    """Name of the module at the other end."""
    address: str
    """IPv4 address of the *receiving* module."""
    port: int
    """Port at which the receiving module listens."""
    transport: Literal["tcp", "udp", "shm"] = "tcp"
    """`check` refuses what this version doesn't carry."""
    queue: int = 16
    """Messages."""
    policy: Literal["block", "drop-oldest", "latest"] = "block"
    """What happens when so many wait."""
    source_address: str = ""
    """IPv4 address of the *sending* module: the receiver takes this stream from nowhere else.
    Empty: not checked."""
    delivery: Literal["at-most-once", "at-least-once", "exactly-once"] = "at-least-once"
    """What a cut, or a restart of either end, may do to messages."""
    deadline_s: float = 0.0
    """After so many seconds nobody wants a message; 0: never."""
    copy: bool = False
    """With shm: the receiver copies arrays out of the shared memory."""
    path: str = ""
    """With shm: the receiver's socket, as the module sees it. In the wiring file only: the agent
    says where it is."""
    fec_ratio: float = 0.0
    """Parity sent along by udp."""
    partial: bool = False
    """Whether udp delivers what is not whole at its deadline."""
    rate_bps: float = 0.0
    """At which udp sends; 0: what the path carries."""


class Wiring(Data, frozen=True):
    """What the SDK reads: the content of `wiring.json`."""

    mesh: str
    module: str
    host: str
    address: str
    inputs: tuple[StreamEnd, ...] = ()
    outputs: tuple[StreamEnd, ...] = ()


class ModuleSpec(Data, frozen=True):
    """One module as it shall run on one host. Exactly one of `image`, `build`, `command`-only."""

    name: str
    host: str
    address: str
    runtime: RuntimeName
    image: str | None = None
    build: Build | None = None
    command: tuple[str, ...] | None = None
    """Instead of the image's or the build's own."""
    cpu: float | None = None
    memory_bytes: int | None = None
    read_bytes_per_s: int | None = None
    write_bytes_per_s: int | None = None
    read_iops: int | None = None
    write_iops: int | None = None
    in_bps: float | None = None
    out_bps: float | None = None
    storage_bytes: int | None = None
    """What its work folder may hold; None: what the machine has room for."""
    env: dict[str, str] = msgspec.field(default_factory=dict)
    files: tuple[File, ...] = ()
    outputs: tuple[str, ...] = ()
    """Globs, relative to the work folder, of what `fetch` brings."""
    mounts: tuple[Mount, ...] = ()
    volumes: tuple[VolumeMount, ...] = ()
    devices: tuple[str, ...] = ()
    """Absolute paths of device files of the machine, `/dev/video0`."""
    secrets: tuple[str, ...] = ()
    """Names only; each value is a file `NAME` in `/run/secrets`, sent by a call of its own."""
    publish: tuple[Publish, ...] = ()
    weights: tuple[Weights, ...] = ()
    source: Source | None = None
    """None but while somebody works on the module with `otterctl dev`."""
    ready: Ready = Ready()
    restart: RestartPolicy = "on-failure"
    accelerator: MadeFor = "cpu"
    """What it is made for, which its machine must have."""
    streams_in: tuple[StreamEnd, ...] = ()
    streams_out: tuple[StreamEnd, ...] = ()
    gpu_share: float | None = None
    """Its weight among all on the machine that take turns of a GPU (`net.lease()`), above 0 and at
    most 1; its host's share counts in already. None: it takes none."""

    gpu: GpuAsk | None = None
    """The GPUs that it is given; None: those of others are none of its business."""

    def wiring(self, mesh: str) -> Wiring:
        """What this module's SDK is to read."""
        return Wiring(
            mesh=mesh,
            module=self.name,
            host=self.host,
            address=self.address,
            inputs=self.streams_in,
            outputs=self.streams_out,
        )

    def blobs(self) -> tuple[str, ...]:
        """Digests of all uploads this module needs."""
        context = (self.build.context,) if self.build else ()
        source = (self.source.blob,) if self.source else ()
        weights = (w.blob for w in self.weights if w.blob)
        return (*context, *source, *weights, *(f.blob for f in self.files))


class Sources(Data, frozen=True):
    """What of a module changes while somebody works on it with `otterctl dev`."""

    build: Build | None
    source: Source | None
    restart: RestartPolicy

    @classmethod
    def of(cls, module: ModuleSpec) -> Sources:
        """As they are now."""
        return cls(build=module.build, source=module.source, restart=module.restart)


class SourceChange(Data, frozen=True):
    """The body of `PUT /v1/meshes/NAME/modules/M/source`."""

    before: Sources
    """What it was made for; if that has changed meanwhile, the change is refused (`changed`)."""
    after: Sources


class MeshSpec(Data, frozen=True):
    """Everything one agent has to make true for one mesh."""

    name: str
    run: str
    """Id of the run: the time of the first apply, `20261122-204322`; kept by re-applies."""
    seed: int = 0
    overcommit: bool = False
    """Whether budgets may add up to more than the machine has."""
    allow_degraded: bool = False
    """Whether links may lack properties that the machine's link driver can't do."""
    routing: Routing = "static"
    """`shortest`: routes are worked out anew when a link goes down or up."""
    hosts: tuple[HostSpec, ...] = ()
    links: tuple[Link, ...] = ()
    cells: tuple[Cell, ...] = ()
    modules: tuple[ModuleSpec, ...] = ()
    names: dict[str, str] = msgspec.field(default_factory=dict)
    """Name of every host and module of the mesh -> IPv4 address: each module's /etc/hosts."""
    timeline: TimelineSpec = TimelineSpec()
    """What changes by itself while it runs."""
    machine: str = ""
    """What this machine is called by who applied; empty: as its agent is."""
    away: tuple[Away, ...] = ()
    """The other machines of the mesh, with what is on them."""
    directory: str = ""
    """Digest of the `Directory` that says `names` and `away` instead; empty: they stand here."""
    clock: str = ""
    """The machine whose clock is the mesh's; empty: it is on one machine."""
    beyond: tuple[Link, ...] = ()
    """Links that are elsewhere or partly so, whole, where routes follow links: what is asked of
    them says which ways there are, and how long."""
    mtu: int = MTU_BYTES
    """Of all devices of the mesh, on all machines: what the narrowest way between them carries."""
    left: tuple[str, ...] = ()
    """Machines that were left out while they gave no answer, or that the mesh is leaving: what they
    may still have of it is no part of it any more."""

    def blobs(self) -> set[str]:
        """Digests of all uploads that its modules and its timeline need."""
        found = {blob for module in self.modules for blob in module.blobs()}
        found |= {trace.blob for trace in self.timeline.traces}
        return found | {self.directory} if self.directory else found

    @property
    def is_whole(self) -> bool:
        """Whether all of the mesh is on one machine."""
        return not (self.away or self.directory)
