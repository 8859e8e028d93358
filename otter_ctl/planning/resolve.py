"""Topology -> `Plan`: placed, addressed, routed, wired; what the agent gets. Pure.

Everything that a running mesh has and the topology doesn't contradict is kept: run id, addresses,
the placement of modules that name no host. Must not know: sockets, files, the clock.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from otter_agent import api
from otter_ctl.errors import PlanError
from otter_ctl.planning.addresses import Addresses, allocate, dotted
from otter_ctl.planning.model import Blob, Plan
from otter_ctl.planning.placement import place
from otter_ctl.planning.routes import Routes, compute
from otter_ctl.topology.model import Link, Module, Ready, Stream, Topology

STREAM_PORT = 7070
"""TCP port at which every receiving module listens at its own address, for all its inputs."""

READY_WITHIN_S = api.Ready().within_s

_PROPERTIES = {
    "delay": ("delay_s",),
    "jitter": ("jitter_s",),
    "loss": ("loss_ratio",),
    "rate": ("rate_bps",),
    "queue": ("queue_s", "queue_bytes", "queue_packets"),
}


@dataclass(slots=True)
class _Ends:
    """The streams of one module."""

    incoming: list[api.StreamEnd] = field(default_factory=list)
    outgoing: list[api.StreamEnd] = field(default_factory=list)


def plan(
    topology: Topology,
    *,
    current: api.MeshSpec | None,
    runtime_default: api.RuntimeName,
    blobs: Mapping[Path, Blob],
    run: str,
) -> Plan:
    """Resolve a topology against what runs.

    Args:
        topology: As loaded.
        current: The mesh of the same name as it is desired now; None: there is none.
        runtime_default: For modules that name no runtime.
        blobs: Build folders and files by their paths in the topology (`uploads.collect`).
        run: Id for a new run; a running mesh keeps its own.

    Raises:
        PlanError: Something can't be had together; `PlacementError` for a module without room.
    """
    seats = _place(topology, current)
    placed: dict[str, list[str]] = {host.name: [] for host in topology.hosts}
    for module, host in seats.items():
        placed[host].append(module)
    addresses = allocate(placed, current)
    links = tuple(
        api.Link(name=link.name, a=link.a, b=link.b, forward=link.forward, reverse=link.reverse)
        for link in topology.links
    )
    routes = compute(addresses.blocks, links)
    wiring = _wiring(topology, addresses)
    spec = api.MeshSpec(
        name=topology.name,
        run=current.run if current else run,
        seed=topology.seed,
        hosts=tuple(_hosts(topology, addresses, routes)),
        links=links,
        modules=tuple(
            _module(m, seats[m.name], addresses, wiring[m.name], runtime_default, blobs)
            for m in topology.modules
        ),
        names=addresses.names(),
    )
    warnings = [*_unshaped(topology.links), *_unreachable(topology.streams, seats, routes)]
    return Plan(spec, tuple(warnings))


def _place(topology: Topology, current: api.MeshSpec | None) -> dict[str, str]:
    now = {m.name: m.host for m in current.modules} if current else {}
    return place(topology.hosts, topology.modules, now)


def _hosts(topology: Topology, addresses: Addresses, routes: Routes) -> Iterable[api.HostSpec]:
    for host in topology.hosts:
        block = addresses.blocks[host.name]
        yield api.HostSpec(
            name=host.name,
            address=dotted(block.host),
            block=str(block),
            cpu=host.cpu,
            memory_bytes=host.memory_bytes,
            routes=routes.tables[host.name],
        )


def _module(
    module: Module,
    host: str,
    addresses: Addresses,
    wiring: _Ends,
    runtime_default: api.RuntimeName,
    blobs: Mapping[Path, Blob],
) -> api.ModuleSpec:
    runtime = module.runtime or runtime_default
    if module.image is not None and runtime == "process":
        reason = "an image can't run without a Docker engine: the process runtime runs no images"
        raise PlanError(f"module {module.name}", reason, hint="install docker.io, or use `build`")
    build = None
    if module.build is not None:
        build = api.Build(context=_blob(blobs, module.build).digest, base=module.base)
    return api.ModuleSpec(
        name=module.name,
        host=host,
        address=addresses.modules[module.name],
        runtime=runtime,
        image=module.image,
        build=build,
        command=module.command,
        cpu=module.cpu,
        memory_bytes=module.memory_bytes,
        env=dict(module.env),
        files=tuple(_files(module, blobs)),
        outputs=module.outputs,
        ready=_ready(module.ready, has_streams=bool(wiring.incoming or wiring.outgoing)),
        restart=module.restart,
        streams_in=tuple(wiring.incoming),
        streams_out=tuple(wiring.outgoing),
    )


def _blob(blobs: Mapping[Path, Blob], path: Path) -> Blob:
    blob = blobs.get(path)
    if blob is None:
        raise PlanError(str(path), "was not collected for upload (a bug in otterctl)")
    return blob


def _files(module: Module, blobs: Mapping[Path, Blob]) -> Iterable[api.File]:
    """By target: their order in the file must not restart anything."""
    for file in sorted(module.files, key=lambda f: f.target):
        blob = _blob(blobs, file.source)
        yield api.File(target=file.target, blob=blob.digest, executable=blob.executable)


def _wiring(topology: Topology, addresses: Addresses) -> dict[str, _Ends]:
    """Both ends of every stream by module; in the streams' order by name, as for files."""
    wiring = {module.name: _Ends() for module in topology.modules}
    for stream in sorted(topology.streams, key=lambda s: s.name):
        wiring[stream.target].incoming.append(_end(stream, addresses, receiving=True))
        wiring[stream.source].outgoing.append(_end(stream, addresses, receiving=False))
    return wiring


def _end(stream: Stream, addresses: Addresses, *, receiving: bool) -> api.StreamEnd:
    """The stream as its receiver or its sender sees it."""
    return api.StreamEnd(
        stream=stream.name,
        port_name=stream.input if receiving else stream.output,
        peer=stream.source if receiving else stream.target,
        address=addresses.modules[stream.target],
        port=STREAM_PORT,
        transport=stream.transport,
        queue=stream.queue,
        policy=stream.policy,
        source_address=addresses.modules[stream.source],
    )


def _ready(ready: Ready | None, *, has_streams: bool) -> api.Ready:
    """What the topology says; else a module with streams has the SDK and says so itself."""
    if ready is None:
        return api.Ready(sdk=has_streams)
    within = READY_WITHIN_S if ready.within_s is None else ready.within_s
    return api.Ready(tcp=ready.tcp, command=ready.command, sdk=ready.sdk, within_s=within)


def _unshaped(links: Iterable[Link]) -> Iterable[str]:
    """One warning per link with properties: nothing acts on them yet."""
    for link in links:
        asked = link.forward.asked() | (link.reverse.asked() if link.reverse else {})
        names = [
            name for name, fields in _PROPERTIES.items() if not asked.keys().isdisjoint(fields)
        ]
        if names:
            verb = "are" if len(names) > 1 else "is"
            what = ", ".join(names)
            yield f"link {link.name}: {what} {verb} not applied in this version (driver: none)"


def _unreachable(
    streams: Iterable[Stream], seats: Mapping[str, str], routes: Routes
) -> Iterable[str]:
    """Streams whose hosts have no way there, or none back: TCP needs both."""
    for stream in streams:
        source, target = seats[stream.source], seats[stream.target]
        for a, b in ((source, target), (target, source)):
            if a != b and b not in routes.reach[a]:
                yield f"stream {stream.name}: host {a} has no route to host {b}"
