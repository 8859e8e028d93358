"""What a topology file says, in SI units, names checked, paths absolute, globs expanded. Pure data.

Nothing is placed or addressed yet: that is the plan's. Must not know: TOML, files, agents.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from net.conditions import Condition
from net.links.changes import Change
from net.links.spec import LinkSpec
from net.links.traces.generate import Recipe
from net.links.traces.trace import Manner, Trace

NAME_LIMIT = 63
"""Characters of a name: it becomes a DNS label."""
MESH_NAME_LIMIT = 40
"""Shorter: a mesh's name is joined with a host's into namespace and cgroup names."""
HOSTS_LIMIT = 10_000
LINKS_LIMIT = 100_000
MODULES_LIMIT = 50_000
STREAMS_LIMIT = 100_000
EVENTS_LIMIT = 100_000
"""After expansion: more is a slip of a count, and would fill a laptop's memory."""
POOL = "100.64.0.0/10"
"""The shared address space of RFC 6598: neither public nor a usual private LAN."""
LOCAL = "local"
"""The machine that the controller runs on."""
DEFAULT_SOCKET = "/run/otter/agent.sock"
"""Where an agent listens that was told nothing else."""

RuntimeChoice = Literal["docker", "process", "fake"]
RestartChoice = Literal["no", "on-failure", "always"]
Transport = Literal["tcp", "udp", "shm"]
Policy = Literal["block", "drop-oldest", "latest"]
Delivery = Literal["at-most-once", "at-least-once", "exactly-once"]
Protocol = Literal["tcp", "udp"]
Routing = Literal["static", "shortest"]
Accelerator = Literal["cpu", "cuda", "l4t"]
Images = Literal["once", "each"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """A computer that can carry hosts.

    Attributes:
        ssh: `user@host`, or an alias of ~/.ssh/config; None: the machine's own name.
        data: Address or interface for the mesh's traffic; None: the one SSH uses.
        labels: Words by which hosts ask for it.
        ssh_config: Absolute path of an OpenSSH client configuration; None: the user's own.
        socket: The agent's Unix socket over there.
        builder: It makes the images of all machines of its kind.
        direct: The socket is on this very computer: no SSH leads there.
        docker: Container of this computer's engine in which the agent is; None: it is in none.
    """

    name: str
    ssh: str | None = None
    data: str | None = None
    labels: tuple[str, ...] = ()
    ssh_config: str | None = None
    socket: str = DEFAULT_SOCKET
    builder: bool = False
    direct: bool = False
    docker: str | None = None

    @property
    def is_local(self) -> bool:
        """Whether it is this computer, reached without SSH."""
        return self.name == LOCAL and self.ssh is None and self.docker is None


@dataclass(frozen=True, slots=True, kw_only=True)
class On:
    """What the machine that carries a host must have."""

    arch: str | None = None
    labels: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Gpu:
    """A part of GPUs: how many, memory of each at most, `share` of their time from 0 to 1."""

    count: int | None = None
    memory_bytes: int | None = None
    share: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Io:
    """Bandwidth of storage, bytes/s and operations/s."""

    read_bytes_per_s: int | None = None
    write_bytes_per_s: int | None = None
    read_iops: int | None = None
    write_iops: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Net:
    """Rates of what is received and sent, bit/s."""

    in_bps: float | None = None
    out_bps: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """An emulated host.

    Attributes:
        cpu: Cores for all its modules together; None: unlimited.
        memory_bytes: For all its modules together; None: unlimited.
        speed: Of one core; 1: the core that Geekbench 6 scores with 2500 points.
        profile: Name of the device that gave what wasn't written.
        machine: That carries it; None: one of those that `among` and `on` leave.
        on: What its machine must have.
        among: Machines that it may be placed on; None: `local`, or where it doesn't fit there the
            others of the topology.
        beside: Hosts on whose machine it must be.
        apart: Hosts on whose machine it must not be.
        trace: What changes its budget over time; None: nothing.
        whole: It is the machine itself.
        gateway: The way to and from the outside world.
        made_from: The table with a `count` that made it; empty: its own.
    """

    name: str
    cpu: float | None = None
    memory_bytes: int | None = None
    speed: float | None = None
    profile: str | None = None
    machine: str | None = None
    on: On | None = None
    among: tuple[str, ...] | None = None
    beside: tuple[str, ...] = ()
    apart: tuple[str, ...] = ()
    gpu: Gpu | None = None
    io: Io | None = None
    net: Net | None = None
    trace: TraceUse | None = None
    whole: bool = False
    gateway: bool = False
    made_from: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class TraceUse:
    """A trace as one direction of a link, a host or a module plays it.

    Attributes:
        name: Of the file as it is written, or of the model.
        trace: As read; or what it is to be drawn from.
        manner: How it is played.
    """

    name: str
    trace: Trace | Recipe
    manner: Manner


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """Joins two hosts.

    Attributes:
        forward: What is asked from `a` to `b`.
        reverse: What is asked from `b` to `a`; None: written with `from`/`to`, carries one way.
        forward_trace: What changes that over time; None: nothing.
        reverse_trace: The same, from `b` to `a`.
        made_from: The name of the table with globs that made it; empty: its own.
        tunnel: How it gets from machine to machine, where it does; None: what works.
        subtract: Whether the delay of the network between the machines is taken off its own.
    """

    name: str
    a: str
    b: str
    forward: LinkSpec
    reverse: LinkSpec | None = None
    forward_trace: TraceUse | None = None
    reverse_trace: TraceUse | None = None
    made_from: str = ""
    tunnel: Literal["vxlan", "udp"] | None = None
    subtract: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """A host that shares a cell.

    Attributes:
        link: The name of its link to the cell's host, which the topology has among its links.
        weight: Its part of the time that several want.
        efficiency: What the cell's capacity is multiplied with while this one sends or is sent to.
        visits: It isn't there at first, but comes by an event; its link is down.
    """

    host: str
    link: str
    weight: float = 1.0
    efficiency: float = 1.0
    visits: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """A medium that several hosts share, each over a link of its own to the cell's host.

    Attributes:
        uplink_bps: What a member of efficiency 1 has from it to the host, when it is alone.
        downlink_bps: The same, from the host to it.
        half_duplex: Both ways share one medium.
    """

    name: str
    host: str
    members: tuple[Member, ...]
    uplink_bps: float
    downlink_bps: float
    half_duplex: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class File:
    """A file copied into a module: `target` is relative to its work folder."""

    target: str
    source: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Mount:
    """A file or folder of the machine (`source`) or a named volume, shown at `target`."""

    target: str
    source: str | None = None
    volume: str | None = None
    readonly: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Weights:
    """A model's files, shown to a module: exactly one of `hub`, `package`, `folder`.

    Attributes:
        folder: As written; of a module: absolute.
    """

    name: str
    hub: str = ""
    revision: str = ""
    package: str = ""
    folder: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Publish:
    """A port reachable from outside the mesh.

    Attributes:
        at: The host where what arrives enters the emulated network; None: the module's own.
    """

    port: int
    listen_port: int
    at: str | None = None
    listen: str = "127.0.0.1"
    protocol: Protocol = "tcp"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ready:
    """When a module counts as ready: exactly one of `tcp`, `command`, `sdk`."""

    tcp: int | None = None
    command: tuple[str, ...] | None = None
    sdk: bool = False
    within_s: float | None = None
    """None: the planner's default."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Module:
    """One AI workload; exactly one of `build`, `image`, `command` alone says what it runs.

    Attributes:
        host: None: the planner places it.
        build: Folder with module.py or a Dockerfile, absolute.
        base: Shared base that `build` is built on.
        accelerator: What it is made for; its machine has to have it.
        runtime: None: the machine's default.
        storage_bytes: What its work folder may hold; None: what the machine has room for.
        trace: What changes its budget over time; None: nothing.
        secrets: Names of variables of the caller.
        ready: None: as the planner sees fit.
        among: Hosts that it may be placed on; None: any.
        on: What the machine of its host must have, where it is placed.
        beside: Modules on whose host it must be.
        apart: Modules on whose host it must not be.
        made_from: The table with a `count` or a glob that made it; empty: its own.
    """

    name: str
    host: str | None = None
    among: tuple[str, ...] | None = None
    on: On | None = None
    beside: tuple[str, ...] = ()
    apart: tuple[str, ...] = ()
    build: Path | None = None
    base: str = "python"
    accelerator: Accelerator = "cpu"
    image: str | None = None
    command: tuple[str, ...] | None = None
    runtime: RuntimeChoice | None = None
    cpu: float | None = None
    memory_bytes: int | None = None
    gpu: Gpu | None = None
    io: Io | None = None
    net: Net | None = None
    storage_bytes: int | None = None
    trace: TraceUse | None = None
    env: dict[str, str] = field(default_factory=dict)
    files: tuple[File, ...] = ()
    mounts: tuple[Mount, ...] = ()
    weights: tuple[Weights, ...] = ()
    devices: tuple[str, ...] = ()
    secrets: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()
    publish: tuple[Publish, ...] = ()
    ready: Ready | None = None
    restart: RestartChoice = "on-failure"
    made_from: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stream:
    """A data edge from an output of module `source` to an input of module `target`."""

    source: str
    output: str
    target: str
    input: str
    transport: Transport = "tcp"
    queue: int = 16
    """Messages."""
    policy: Policy = "block"
    delivery: Delivery = "at-least-once"
    deadline_s: float = 0.0
    """0: none."""
    copy: bool = False
    """With shm: whether received arrays are copied, and so writable."""
    fec_ratio: float = 0.0
    partial: bool = False
    rate_bps: float = 0.0
    """0: what the path carries. These three: udp only."""
    expect_bytes: int | None = None
    """Of a message; None: nothing is said."""
    expect_per_s: float | None = None
    """Messages a second; None: nothing is said."""

    @property
    def name(self) -> str:
        """`asr.text>vqa.question`."""
        return f"{self.source}.{self.output}>{self.target}.{self.input}"


@dataclass(frozen=True, slots=True, kw_only=True)
class TimedEvent:
    """Something that happens to links, hosts or modules, at a time or on a condition.

    Times are those of `net.links.timeline.Event`.

    Attributes:
        both: Links to both of whose directions it happens.
        forward: Those to whose direction from `a` to `b` it happens.
        reverse: The same, from `b` to `a`.
        hosts: Hosts to which it happens; then there are no links.
        modules: Modules to which it happens; then there are neither links nor hosts.
        change: Fields of `LinkSpec`, or those of `net.links.limits.Limits`.
        action: What is done to its modules at each beginning.
        when: What it waits for; then `at_s` is 0.
        text: As people read it.
    """

    at_s: float
    both: tuple[str, ...] = ()
    forward: tuple[str, ...] = ()
    reverse: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()
    modules: tuple[str, ...] = ()
    action: Literal["", "restart", "kill"] = ""
    when: Condition | None = None
    change: Change = field(default_factory=Change)
    reset: bool = False
    for_s: float | None = None
    every_s: float | None = None
    ramp_s: float = 0.0
    text: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class HostMove:
    """A host comes into another cell: its ways lead over `link` from then on."""

    at_s: float
    host: str
    link: str
    every_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Expansion:
    """What a `count` or a glob stands for.

    Attributes:
        subject: `hosts`, `links`, `cells`, `modules` or `streams`.
        written: Name of the table as it stands in the file.
        rule: How it was expanded: `count`, `one per host`, `by index`, `all with all`, `mesh`.
        names: Of what it made, in order.
    """

    subject: str
    written: str
    rule: str
    names: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Topology:
    """One topology file; everything in the order of the file.

    Attributes:
        path: The file; relative paths in it were resolved against its folder.
        files: It and what it includes, what others rest on first.
        pool: CIDR that addresses are taken from.
        overcommit: Whether budgets may add up to more than the machine has.
        allow_degraded: Whether links, and hosts' budgets, may lack what the machine can't do.
        placement: Who places: a name of `placing.find.PLACERS`, or package:function.
        routing: Whether routes stay as they are planned, or follow links that go down and up.
        images: Whether machines of one kind share what one has made, or each makes its own.
        machines: That its hosts may be on, from the file or the site file.
        links: Those of `[[links]]`, then those of cells.
        expansion: What counts and globs made, table by table.
    """

    path: Path
    files: tuple[Path, ...] = ()
    name: str
    seed: int = 0
    pool: str = POOL
    overcommit: bool = False
    allow_degraded: bool = False
    placement: str = "greedy"
    routing: Routing = "static"
    images: Images = "once"
    machines: tuple[Machine, ...] = ()
    hosts: tuple[Host, ...]
    links: tuple[Link, ...] = ()
    cells: tuple[Cell, ...] = ()
    modules: tuple[Module, ...] = ()
    streams: tuple[Stream, ...] = ()
    events: tuple[TimedEvent, ...] = ()
    moves: tuple[HostMove, ...] = ()
    expansion: tuple[Expansion, ...] = ()

    def trace_uses(self) -> Iterator[TraceUse]:
        """All traces that are played: of links both ways, then of hosts and modules."""
        for link in self.links:
            yield from filter(None, (link.forward_trace, link.reverse_trace))
        yield from (host.trace for host in self.hosts if host.trace is not None)
        yield from (module.trace for module in self.modules if module.trace is not None)
