"""What controller and agent say to each other: pure data types and their JSON codec.

Desired state goes down as one `MeshSpec` (this machine's part of a mesh); `MeshStatus` and `Event`
come up. All quantities are SI numbers with the unit in the name. Must not know: drivers, sockets,
asyncio, the clock. The HTTP paths that carry these are in docs/architecture.md.
"""

from __future__ import annotations

import hashlib
import re
from typing import Any, Literal, TypeVar

import msgspec

from net.links.spec import LinkSpec

API_VERSION = 1
"""Checked by both sides at connect; raised when a type below changes incompatibly."""

T = TypeVar("T")

RestartPolicy = Literal["no", "on-failure", "always"]
RuntimeName = Literal["docker", "process", "fake"]
ModuleState = Literal[
    "pending", "starting", "running", "ready", "done", "restarting", "failed", "stopped"
]
MeshState = Literal["converging", "ready", "degraded", "destroying"]


class _Data(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Immutable, strict: an unknown field is an error, so version skew shows at once."""


# --- desired state -------------------------------------------------------------------------------


class Route(_Data, frozen=True):
    """One static route of a host's router namespace."""

    to: str
    """Destination, CIDR."""
    via: str
    """The neighbour host's address (on-link: links are unnumbered)."""
    link: str
    """Name of the link that leads there."""


class HostSpec(_Data, frozen=True):
    """An emulated host: a resource budget and a router namespace."""

    name: str
    address: str
    """IPv4 address of the router itself, the first of `block`."""
    block: str
    """CIDR that holds the addresses of this host and of its modules."""
    cpu: float | None = None
    """Cores for all modules together; None: unlimited."""
    memory_bytes: int | None = None
    routes: tuple[Route, ...] = ()


class Link(_Data, frozen=True):
    """A pair of devices that joins two hosts, with what is asked of each direction."""

    name: str
    a: str
    b: str
    forward: LinkSpec | None = None
    """From `a` to `b`; None: this direction was not written in the topology."""
    reverse: LinkSpec | None = None
    """From `b` to `a`."""


class Build(_Data, frozen=True):
    """A module folder to make an image or an environment from."""

    context: str
    """SHA-256 (hex) of a tar of the folder, uploaded as a blob."""
    base: str = "python"
    """Name of the shared base: `python`, `torch`, `tensorflow`, …"""


class File(_Data, frozen=True):
    """A file copied into a module before it starts."""

    target: str
    """Path relative to the module's work folder."""
    blob: str
    """SHA-256 (hex) of the content, uploaded as a blob."""
    executable: bool = False


class Ready(_Data, frozen=True):
    """When a module counts as ready. All None/False: as soon as it runs."""

    tcp: int | None = None
    """A port at the module's address that accepts connections."""
    command: tuple[str, ...] | None = None
    """A command in the module that exits with 0."""
    sdk: bool = False
    """The module says so itself (`await mesh.ready()`)."""
    within_s: float = 300.0
    """After this long the module counts as failed to get ready."""


class StreamEnd(_Data, frozen=True):
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
    """TCP port at which the receiving module listens."""
    transport: Literal["tcp"] = "tcp"
    queue: int = 16
    """Messages."""
    policy: Literal["block"] = "block"
    source_address: str = ""
    """IPv4 address of the *sending* module: the receiver takes this stream from nowhere else.
    Empty: not checked."""


class Wiring(_Data, frozen=True):
    """What the SDK reads: the content of `wiring.json`."""

    mesh: str
    module: str
    host: str
    address: str
    inputs: tuple[StreamEnd, ...] = ()
    outputs: tuple[StreamEnd, ...] = ()


class ModuleSpec(_Data, frozen=True):
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
    env: dict[str, str] = {}
    files: tuple[File, ...] = ()
    outputs: tuple[str, ...] = ()
    """Globs, relative to the work folder, of what `fetch` brings."""
    ready: Ready = Ready()
    restart: RestartPolicy = "on-failure"
    streams_in: tuple[StreamEnd, ...] = ()
    streams_out: tuple[StreamEnd, ...] = ()

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
        return context + tuple(f.blob for f in self.files)


class MeshSpec(_Data, frozen=True):
    """Everything one agent has to make true for one mesh."""

    name: str
    run: str
    """Id of the run: the time of the first apply, `20261122-204322`; kept by re-applies."""
    seed: int = 0
    hosts: tuple[HostSpec, ...] = ()
    links: tuple[Link, ...] = ()
    modules: tuple[ModuleSpec, ...] = ()
    names: dict[str, str] = {}
    """Name of every host and module of the mesh -> IPv4 address: each module's /etc/hosts."""


# --- observed state ------------------------------------------------------------------------------


class Budget(_Data, frozen=True):
    """What is asked of, or in force for, a host or module. None: unlimited."""

    cpu: float | None = None
    """Cores."""
    memory_bytes: int | None = None
    pids: int | None = None
    period_s: float | None = None
    """CFS period; only meaningful for what is in force."""


class HostStatus(_Data, frozen=True):
    """A host in `status --json`; `cpu` and `memory_bytes` are those in force."""

    name: str
    machine: str
    address: str
    cpu: float | None
    memory_bytes: int | None
    asked: Budget
    in_force: Budget


class ModuleStatus(_Data, frozen=True):
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
    log_tail: tuple[str, ...] = ()
    """Last lines of its log; filled when it failed or restarts."""
    image: str = ""
    """What runs: image id, or environment id."""


class LinkStatus(_Data, frozen=True, rename={"from_": "from"}):
    """One direction of a link in `status --json`."""

    name: str
    from_: str
    to: str
    driver: str
    asked: dict[str, Any]
    applied: dict[str, Any] | None


class MachineStatus(_Data, frozen=True):
    """A machine in `status --json`."""

    name: str
    reachable: bool
    version: str


class MeshStatus(_Data, frozen=True):
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
    problem: str = ""
    """What keeps the mesh as a whole from converging (network, budgets); one line."""


class MeshSummary(_Data, frozen=True):
    """One line of `ls`."""

    mesh: str
    state: MeshState
    run: str
    hosts: int
    modules: int
    ready: int


class Event(_Data, frozen=True):
    """Something that happened: one line of `events` and of the watch stream."""

    seq: int
    time: float
    """Seconds since 1970, UTC."""
    mesh: str
    kind: str
    """`module`, `network`, `image`, `mesh`, `agent`."""
    subject: str
    """Name of the module, host or link; the mesh's own name otherwise."""
    text: str
    state: str = ""
    """A module's new state, if this event is a change of state."""


class LogLine(_Data, frozen=True):
    """One line that a module wrote."""

    module: str
    text: str
    time: float | None = None
    """Seconds since 1970 where the runtime records it."""


class RuntimeFact(_Data, frozen=True):
    """Whether a runtime can be used on this machine, and why not."""

    name: str
    usable: bool
    detail: str
    """Version, or what is missing and what to do."""


class Info(_Data, frozen=True):
    """The answer of `GET /v1/info`."""

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
    link_driver: str = "none"


class Problem(_Data, frozen=True):
    """The body of every answer with a 4xx or 5xx status."""

    code: str
    message: str
    hint: str = ""
    missing: tuple[str, ...] = ()
    """Digests of blobs to upload first (`code` is `missing-blobs`)."""


class ImageInfo(_Data, frozen=True):
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


class ExecRequest(_Data, frozen=True):
    """The first message of an exec WebSocket."""

    argv: tuple[str, ...]


class Pruned(_Data, frozen=True):
    """The answer of `POST /v1/images/prune`."""

    removed: tuple[str, ...]
    freed_bytes: int


# --- codec ---------------------------------------------------------------------------------------


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


_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")
_RUN = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,63}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
MAX_CORES = 10_000.0


def check(spec: MeshSpec) -> None:
    """Refuse what would be dangerous or make no sense, whatever the controller checked.

    Names become paths and namespaces, addresses a line of /etc/hosts; a file's target must stay in
    the work folder.

    Raises:
        msgspec.ValidationError: Says which name or value.
    """
    hosts = [host.name for host in spec.hosts]
    modules = [module.name for module in spec.modules]
    for name in (spec.name, *hosts, *modules, *spec.names):
        _need(_NAME.fullmatch(name), f"{name[:80]!r} is not a valid name")
    _need(_RUN.fullmatch(spec.run), f"{spec.run[:80]!r} is not a valid run id")
    _need(len({*hosts}) == len(hosts), "two hosts have one name")
    _need(len({*modules}) == len(modules), "two modules have one name")
    for address in spec.names.values():
        _address(address)
    for host in spec.hosts:
        _address(host.address)
        _budget(f"host {host.name}", host.cpu, host.memory_bytes)
    for module in spec.modules:
        _need(module.host in hosts, f"module {module.name}: no host {module.host[:80]!r}")
        _module(module)
    for link in spec.links:
        _need(link.a in hosts and link.b in hosts, f"link {link.name[:80]!r}: unknown host")
        _need(link.name.isprintable() and 0 < len(link.name) <= 200, "a link's name is no name")


def _module(module: ModuleSpec) -> None:
    where = f"module {module.name}"
    _address(module.address)
    _budget(where, module.cpu, module.memory_bytes)
    ready = module.ready
    _need(ready.tcp is None or 0 < ready.tcp < 65536, f"{where}: port {ready.tcp}")
    _need(0 < ready.within_s < 1e7, f"{where}: ready within {ready.within_s} s")
    for file in module.files:
        parts = file.target.split("/")
        good = file.target.isprintable() and not {"", ".", ".."} & {*parts}
        _need(good, f"{where}: file {file.target[:80]!r} must stay in the work folder")
    for blob in module.blobs():
        _need(_SHA256.fullmatch(blob), f"{where}: blob {blob[:80]!r}")
    words = (*(module.command or ()), *module.env, *module.env.values())
    _need(not any("\0" in word for word in words), f"{where}: a NUL in its command or environment")


def _budget(where: str, cpu: float | None, memory_bytes: int | None) -> None:
    _need(cpu is None or 0 < cpu <= MAX_CORES, f"{where}: {cpu} cores")
    _need(memory_bytes is None or memory_bytes > 0, f"{where}: {memory_bytes} bytes of memory")


def _address(text: str) -> None:
    parts = text.split(".")
    good = len(parts) == 4 and all(p.isascii() and p.isdigit() and int(p) < 256 for p in parts)
    _need(good and len(text) <= 15, f"{text[:80]!r} is not an IPv4 address")


def _need(good: object, otherwise: str) -> None:
    if not good:
        raise msgspec.ValidationError(otherwise)


def digest(data: bytes) -> str:
    """SHA-256 in hex: the name of a blob."""
    return hashlib.sha256(data).hexdigest()


_LIVE_FIELDS = frozenset({"cpu", "memory_bytes", "restart", "outputs", "ready"})


def instance_digest(module: ModuleSpec) -> str:
    """Changes exactly when the running instance must be replaced.

    Budgets, restart policy, outputs and readiness change live and don't count.
    """
    fields = {k: v for k, v in to_builtins(module).items() if k not in _LIVE_FIELDS}
    return digest(msgspec.json.encode(fields, order="sorted"))[:16]
