"""What an agent tells of itself and its machine, and the small requests and answers. Pure data."""

from __future__ import annotations

from typing import Literal

import msgspec

from otter_agent.api.base import Data
from otter_agent.api.facts import GPUS, Accelerator, Feature, GpuFact, Hardness, Held
from otter_agent.api.many import UDP_PORT, NetworkFact


class RuntimeFact(Data, frozen=True):
    """Whether a runtime can be used on this machine, and why not."""

    name: str
    usable: bool
    detail: str
    """Version, or what is missing and what to do."""


class DriverFact(Data, frozen=True):
    """Whether a link driver can be used on this machine, and why not."""

    name: str
    usable: bool
    detail: str
    """What it rests on, or what is missing and what to do."""
    error_s: float | None = None
    """The error of a delay to expect, median; None: unknown."""
    chosen: bool = False
    """Whether it is the one that shapes the links of meshes here."""


class Info(Data, frozen=True, forbid_unknown_fields=False):
    """The answer of `GET /v1/info`; read of any version, as it says which one that is."""

    agent: str
    """The agent's id, part of every name it makes."""
    version: str
    api_version: int
    pid: int
    root: str
    machine: str
    cpus: int
    memory_bytes: int
    arch: str
    kernel: str
    cgroup: str
    """`v1`, `v2`, or `none`."""
    runtimes: tuple[RuntimeFact, ...]
    cgroup_why: str = ""
    """Why no budgets can be had here; empty if they can."""
    user: str = ""
    """Who runs the agent, where that isn't root: meshes are in a user namespace of theirs."""
    lacks: tuple[str, ...] = ()
    """What an agent without root lacks here, a line each: `budgets: …`."""
    link_driver: str = "none"
    """The one that shapes links here; `none`: none works."""
    link_drivers: tuple[DriverFact, ...] = ()
    """Those that were probed, the better first."""
    link_driver_why: str = ""
    """Why it is this one, or none."""
    gateways: str = ""
    """Why no mesh can have a gateway here; empty if they can."""
    python: str = ""
    """Version of the Python that the agent runs on."""
    networks: tuple[NetworkFact, ...] = ()
    """Its addresses, but loopback's; first those of the device that leads outside."""
    accelerators: tuple[str, ...] = ()
    """Those whose drivers are there: `cuda`, `l4t`."""
    tunnels: str = ""
    """Why no link can lead from here to another machine by VXLAN; empty if they can."""
    udp_tunnels: str = ""
    """Why none can over UDP, carried by a process; empty if they can."""
    udp_port: int = UDP_PORT
    """At which such links come in."""
    features: tuple[Feature, ...] = ()
    """Parts of the kernel, by name."""
    devices: tuple[Accelerator, ...] = ()
    """That compute beside the processors, or draw."""
    congestion: str = ""
    """TCP's congestion control, that of modules' sockets; empty: it can't be told."""
    held: tuple[Held, ...] = ()
    """What each mesh holds of its cores and its memory."""
    gpu_facts: tuple[GpuFact, ...] = ()
    """GPUs that NVIDIA's driver tells of."""
    gpu_why: str = ""
    """Why it tells of none."""
    speed: float | None = None
    """Of one of its cores; None: nobody has needed it yet, and so it wasn't measured."""
    waking_s: float | None = None
    """What a message of 10 kB takes between two processes here that rest in between; None: it
    wasn't measured, as nobody has asked for a prediction, or the machine was busy."""
    disks_why: str = ""
    """Why what is read from and written to disks can't be limited here; empty: it can."""

    @property
    def hardness(self) -> Hardness:
        """What its cores are worth."""
        return Hardness(speed=self.speed, cpus=self.cpus)

    @property
    def engine(self) -> str:
        """Version of its Docker engine; empty: none that can be used."""
        return next((r.detail for r in self.runtimes if r.name == "docker" and r.usable), "")

    @property
    def gpus(self) -> int:
        """How many GPUs it has that modules can compute on; in WSL2 the driver alone tells."""
        seen = sum(accelerator.kind in GPUS for accelerator in self.devices)
        return max(seen, len(self.gpu_facts))


class Problem(Data, frozen=True):
    """The body of every answer with a 4xx or 5xx status."""

    code: str
    message: str
    hint: str = ""
    missing: tuple[str, ...] = ()
    """Digests of blobs to upload first (`code` is `missing-blobs`)."""
    controller: str = ""
    """Of the lease that is in the way (`code` is `locked`)."""


class ImageInfo(Data, frozen=True):
    """One line of `image ls`."""

    reference: str
    kind: str
    """`image` or `environment`."""
    digest: str = ""
    """The content id that `ModuleStatus.image` shows."""
    size_bytes: int = 0
    created: float = 0.0
    used_by: tuple[str, ...] = ()
    """`mesh/module` names."""


class VolumeInfo(Data, frozen=True):
    """One line of `volume ls`."""

    name: str
    size_bytes: int
    """On the disk; holes in files count nothing."""
    created: float
    used_by: tuple[str, ...] = ()
    """`mesh/module` names."""


class PathInfo(Data, frozen=True):
    """What is at a path inside a module."""

    path: str
    """Absolute, inside; without links but for its last step."""
    kind: Literal["file", "folder", "link", "other"]
    size_bytes: int
    mode: int
    target: str = ""
    """Where a link leads to in the end; empty: nowhere."""


class Copied(Data, frozen=True):
    """What became of a tar that was sent into a module."""

    failed: tuple[str, ...] = ()
    """What could not be written, a line each; all else was."""


class TerminalSize(Data, frozen=True):
    """Of the caller's window, in characters; a later text message of an exec WebSocket."""

    rows: int
    columns: int


class ExecRequest(Data, frozen=True):
    """The first message of an exec WebSocket."""

    argv: tuple[str, ...] = ()
    """Empty: the module's shell, bash or else sh."""
    env: dict[str, str] = msgspec.field(default_factory=dict)
    """Besides the module's own variables."""
    cwd: str = ""
    """Absolute; empty: the module's own."""
    user: str = ""
    """`NAME`, `UID` or `USER:GROUP`; empty: the module's own."""
    terminal: TerminalSize | None = None
    """Run it in a terminal of this size."""


class ForwardRequest(Data, frozen=True):
    """The first message of a forward WebSocket."""

    port: int
    """At the module's own address."""
    at: str = ""
    """Name of the host from which it is reached; empty: the module's own, straight to it."""
    protocol: Literal["tcp", "udp"] = "tcp"


class CacheItem(Data, frozen=True):
    """One line of `cache ls`: something that was fetched once and is kept."""

    name: str
    kind: Literal["weights", "wheels"]
    title: str
    """What it is."""
    size_bytes: int
    created: float
    used_by: tuple[str, ...] = ()
    """`mesh/module` names. Wheels are used only while something is built."""


class CacheRemoval(Data, frozen=True):
    """The body of `POST /v1/cache/remove`."""

    names: tuple[str, ...] = ()
    """Names and globs; empty: all that isn't used."""
    dry_run: bool = False


class PrunedItem(Data, frozen=True):
    """Something that was removed, or that would be."""

    reference: str
    kind: str
    """`module`, `base`, `packages`, `root` (images); `env`, `models`, `layer`, `base`, `net`."""
    size_bytes: int
    """What it holds alone, without what it is built on or links to."""


class Pruned(Data, frozen=True):
    """The answer of `POST /v1/images/prune`."""

    removed: tuple[str, ...]
    freed_bytes: int
    """On the disk; of a dry run: about."""
    items: tuple[PrunedItem, ...] = ()
    """The same as `removed`, in more words."""
    dry_run: bool = False
    """Nothing was removed: this is what would be."""
