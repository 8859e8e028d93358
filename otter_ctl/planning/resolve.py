"""Topology -> `Plan`: placed, addressed, routed, wired; what the agent gets. Pure.

Everything that a running mesh has and the topology doesn't contradict is kept: run id, addresses,
the placement of modules that name no host. Must not know: sockets, files, the clock.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

from net.routing.blocks import dotted
from net.routing.routes import Routes, compute
from otter_agent import api
from otter_ctl.errors import PlanError
from otter_ctl.planning import gpus, pace
from otter_ctl.planning.addresses import Addresses, allocate
from otter_ctl.planning.capacity import carries_bps
from otter_ctl.planning.crossing import NOTHING, Beneath, Crossing
from otter_ctl.planning.crowding import crowding_lines
from otter_ctl.planning.held import NO_IMAGES
from otter_ctl.planning.hosting import Hosting
from otter_ctl.planning.machines import apart, assign, unreached
from otter_ctl.planning.model import Blob, Plan, Upload
from otter_ctl.planning.outside import outside
from otter_ctl.planning.placement import ANYWHERE, Placement, offered, place
from otter_ctl.planning.prediction import forecast
from otter_ctl.planning.speeds import speed_lines
from otter_ctl.planning.timeline import timeline, trace_notes
from otter_ctl.planning.unbuilt import unreachable, waiting_for_ever
from otter_ctl.topology.model import LOCAL, Cell, Host, Link, Module, Ready, Stream, Topology
from otter_ctl.topology.words import fill

STREAM_PORT = 7070
"""TCP port at which every receiving module listens at its own address, for all its inputs."""

NO_RUNTIMES: Mapping[str, api.RuntimeName] = MappingProxyType({})
NO_ARCHES: Mapping[str, str] = MappingProxyType({})
NO_INFOS: Mapping[str, api.Info] = MappingProxyType({})
NOTHING_ABLE: Mapping[str, frozenset[str]] = MappingProxyType({})
READY_WITHIN_S = api.Ready().within_s


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
    blobs: Mapping[Upload, Blob],
    run: str,
    arch: str | None = None,
    runtimes: Mapping[str, api.RuntimeName] = NO_RUNTIMES,
    reached: frozenset[str] | None = None,
    arches: Mapping[str, str] = NO_ARCHES,
    hosting: Hosting | None = None,
    able: Mapping[str, frozenset[str]] = NOTHING_ABLE,
    infos: Mapping[str, api.Info] = NO_INFOS,
) -> Plan:
    """Resolve a topology against what runs.

    Args:
        topology: As loaded.
        current: The mesh of the same name as it is desired now; None: there is none.
        runtime_default: For modules that name no runtime.
        blobs: Build folders and files by their paths in the topology, and traces
            (`uploads.collect`).
        run: Id for a new run; a running mesh keeps its own.
        arch: Kind of this machine's processors, as the kernel calls it; None: not known.
        runtimes: Machine -> the same as `runtime_default`, where it is another.
        reached: The machines that are there; None: this one only.
        arches: Machine -> the kind of its processors, where several are reached.
        hosting: Where hosts are; None: as `assign` says, which asks nobody.
        able: Machine -> what it can run, where several are reached.
        infos: Machine -> what its agent says, as far as it was asked.

    Raises:
        PlanError: Something can't be had together; `PlacementError` for a module without room.
    """
    links = tuple(map(_link, topology.links))
    machines = hosting.machines if hosting is not None else assign(topology, arch)
    at_first = _at_first(topology, links)
    offers = _offers(topology, machines, arch, arches, able)
    placement, crossing = seated(
        topology,
        current,
        offers=offers,
        beneath=_beneath(machines, hosting, infos),
        hosting=hosting,
    )
    seats = placement.seats
    placed: dict[str, list[str]] = {host.name: [] for host in topology.hosts}
    for module, host in seats.items():
        placed[host].append(module)
    addresses = allocate(placed, current, topology.pool)
    routes = compute(addresses.blocks, at_first, {h.name for h in topology.hosts if h.gateway})
    wiring = _wiring(topology, seats, addresses)
    names = addresses.names()
    kept = _kept_runtimes(topology, current)
    by_name = {host.name: host for host in topology.hosts}
    gpus.refuse_too_much(topology, seats)
    spec = api.MeshSpec(
        name=topology.name,
        run=current.run if current else run,
        seed=topology.seed,
        overcommit=topology.overcommit,
        allow_degraded=topology.allow_degraded,
        routing=topology.routing,
        hosts=tuple(_hosts(topology, addresses, routes)),
        links=links,
        cells=tuple(map(_cell, topology.cells)),
        modules=tuple(
            _module(
                m,
                seats[m.name],
                names,
                wiring[m.name],
                kept.get(m.name) or runtimes.get(machines[seats[m.name]], runtime_default),
                blobs,
                gpus.share(m, by_name[seats[m.name]]),
                gpus.ask(m, by_name[seats[m.name]], degraded=topology.allow_degraded),
            )
            for m in topology.modules
        ),
        names=names,
        timeline=timeline(topology, blobs),
    )
    paces = {name: pace.of_machine(infos.get(name)) for name in {*machines.values()}}
    expected = forecast(topology.streams, seats, crossing, lambda host: paces[machines[host]])
    return Plan(
        spec,
        warnings=(
            *trace_notes(topology),
            *waiting_for_ever(topology),
            *gpus.oversubscribed(topology, seats),
            *gpus.ungiven(topology, seats),
            *unreachable(topology.streams, seats, routes.reach),
            *expected.warnings(),
        ),
        unsupported=(
            *unreached(topology, machines, arch, reached),
            *apart(topology, seats, machines, spec),
        ),
        expansion=topology.expansion,
        machines=machines,
        hosting=hosting,
        placement=placement,
        forecast=expected,
        speeds=speed_lines(topology, machines, infos),
        crowding=crowding_lines(topology),
    )


def _cell(cell: Cell) -> api.Cell:
    members = (
        api.CellMember(host=m.host, link=m.link, weight=m.weight, efficiency=m.efficiency)
        for m in cell.members
    )
    return api.Cell(
        name=cell.name, host=cell.host, members=tuple(members), half_duplex=cell.half_duplex
    )


def _link(link: Link) -> api.Link:
    return api.Link(
        name=link.name,
        a=link.a,
        b=link.b,
        forward=link.forward,
        reverse=link.reverse,
        over=link.tunnel,
        subtract=link.subtract,
    )


def _at_first(topology: Topology, links: Iterable[api.Link]) -> list[api.Link]:
    """Without those of members that come to a cell later."""
    later = {m.link for cell in topology.cells for m in cell.members if m.visits}
    return [link for link in links if link.name not in later]


def _offers(
    topology: Topology,
    machines: Mapping[str, str],
    arch: str | None,
    arches: Mapping[str, str],
    able: Mapping[str, frozenset[str]],
) -> dict[str, frozenset[str]]:
    """Host -> what its machine offers."""
    known = {machine.name: machine for machine in topology.machines}
    none: frozenset[str] = frozenset()
    each = {
        name: able.get(name, none)
        | offered(known.get(name), arches.get(name, arch if name == LOCAL else None))
        for name in set(machines.values())
    }
    return {host: each[name] for host, name in machines.items()}


def _beneath(
    machines: Mapping[str, str], hosting: Hosting | None, infos: Mapping[str, api.Info]
) -> Beneath:
    carries = {name: carries_bps(info.link_driver) for name, info in infos.items()}

    def congestion(host: str) -> str:
        info = infos.get(machines[host])
        return info.congestion if info is not None else ""

    return Beneath(
        hosting.real_s if hosting is not None else NOTHING.real_s,
        hosting.tunnel_s if hosting is not None else NOTHING.tunnel_s,
        hosting.real_bps if hosting is not None else NOTHING.real_bps,
        lambda host: carries.get(machines[host], math.inf),
        congestion,
    )


def seated(
    topology: Topology,
    current: api.MeshSpec | None = None,
    *,
    offers: Mapping[str, frozenset[str]] | None = None,
    beneath: Beneath = NOTHING,
    hosting: Hosting | None = None,
) -> tuple[Placement, Crossing]:
    """Where modules go, and what messages take from host to host.

    Args:
        topology: All of it.
        current: The mesh as it is now.
        offers: Host -> what its machine offers; None: nobody was asked.
        beneath: What links rest on.
        hosting: Where hosts are, and which images there; None: not known.

    Raises:
        PlacementError: A module fits nowhere.
    """
    hosts = [host.name for host in topology.hosts]
    crossing = Crossing(hosts, _at_first(topology, map(_link, topology.links)), beneath)
    if offers is None:
        offers = _offers(topology, assign(topology, None), None, NO_ARCHES, NOTHING_ABLE)
    placement = place(
        topology.hosts,
        topology.modules,
        topology.streams,
        {m.name: m.host for m in current.modules} if current else {},
        cross_s=crossing.message_s,
        offers=offers,
        placer=topology.placement,
        machines=hosting.machines if hosting is not None else ANYWHERE,
        images=hosting.images if hosting is not None else NO_IMAGES,
    )
    return placement, crossing


def _kept_runtimes(topology: Topology, current: api.MeshSpec | None) -> dict[str, api.RuntimeName]:
    """Modules go on in the runtime they run in, though an engine came or went since."""
    now = {m.name: m.runtime for m in current.modules} if current else {}
    fits = {m.name for m in topology.modules if m.image is None or now.get(m.name) == "docker"}
    return {name: runtime for name, runtime in now.items() if name in fits}


def _hosts(topology: Topology, addresses: Addresses, routes: Routes) -> Iterable[api.HostSpec]:
    for host in topology.hosts:
        block = addresses.blocks[host.name]
        yield api.HostSpec(
            name=host.name,
            address=dotted(block.host),
            block=str(block),
            cpu=host.cpu,
            memory_bytes=host.memory_bytes,
            speed=host.speed,
            **_limits(host),
            gpu_share=host.gpu.share if host.gpu is not None else None,
            gateway=host.gateway,
            routes=tuple(api.Route(**way._asdict()) for way in routes.tables[host.name]),
        )


def _limits(item: Host | Module) -> dict[str, Any]:
    """Of disks and of the network."""
    return {k: v for of in (item.io, item.net) if of for k, v in dataclasses.asdict(of).items()}


def _module(
    module: Module,
    host: str,
    names: Mapping[str, str],
    wiring: _Ends,
    runtime_default: api.RuntimeName,
    blobs: Mapping[Upload, Blob],
    gpu_share: float | None,
    gpu: api.GpuAsk | None,
) -> api.ModuleSpec:
    runtime = module.runtime or runtime_default
    if module.image is not None and runtime == "process":
        reason = "an image can't run without a Docker engine: the process runtime runs no images"
        raise PlanError(f"module {module.name}", reason, hint="install docker.io, or use `build`")
    build = None
    if module.build is not None:
        build = api.Build(context=_blob(blobs, module.build).digest, base=module.base)
    address = names[module.name]
    own = {"name": module.name, "host": host, "address": address}
    filled = partial(fill, addresses=names, own=own)
    return api.ModuleSpec(
        name=module.name,
        host=host,
        address=address,
        runtime=runtime,
        image=module.image,
        build=build,
        accelerator=module.accelerator,
        command=None if module.command is None else tuple(map(filled, module.command)),
        cpu=module.cpu,
        memory_bytes=module.memory_bytes,
        **_limits(module),
        storage_bytes=module.storage_bytes,
        gpu_share=gpu_share,
        gpu=gpu,
        env={name: filled(value) for name, value in module.env.items()},
        files=tuple(_files(module, blobs)),
        weights=tuple(_weights(module, blobs)),
        outputs=module.outputs,
        **outside(module, host),
        ready=_ready(module.ready, filled, has_streams=bool(wiring.incoming or wiring.outgoing)),
        restart=module.restart,
        streams_in=tuple(wiring.incoming),
        streams_out=tuple(wiring.outgoing),
    )


def _blob(blobs: Mapping[Upload, Blob], path: Path) -> Blob:
    blob = blobs.get(path)
    if blob is None:
        raise PlanError(str(path), "was not collected for upload (a bug in otterctl)")
    return blob


def _files(module: Module, blobs: Mapping[Upload, Blob]) -> Iterable[api.File]:
    """By target: their order in the file must not restart anything."""
    for file in sorted(module.files, key=lambda f: f.target):
        blob = _blob(blobs, file.source)
        yield api.File(target=file.target, blob=blob.digest, executable=blob.executable)


def _weights(module: Module, blobs: Mapping[Upload, Blob]) -> Iterable[api.Weights]:
    """By name, as for files."""
    for one in sorted(module.weights, key=lambda w: w.name):
        blob = _blob(blobs, Path(one.folder)).digest if one.folder else ""
        yield api.Weights(
            name=one.name, hub=one.hub, revision=one.revision, package=one.package, blob=blob
        )


def _wiring(topology: Topology, seats: Mapping[str, str], addresses: Addresses) -> dict[str, _Ends]:
    """Both ends of every stream by module; in the streams' order by name, as for files."""
    for stream in topology.streams:
        a, b = seats[stream.source], seats[stream.target]
        if stream.transport == "shm" and a != b:
            reason = f"shm joins modules of one host: they are on {a} and {b}"
            raise PlanError(f"stream {stream.name}", reason, hint="name the same `host` for both")
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
        delivery=stream.delivery,
        deadline_s=stream.deadline_s,
        copy=stream.copy,
        fec_ratio=stream.fec_ratio,
        partial=stream.partial,
        rate_bps=stream.rate_bps,
    )


def _ready(ready: Ready | None, filled: Callable[[str], str], *, has_streams: bool) -> api.Ready:
    """What the topology says; else a module with streams has the SDK and says so itself."""
    if ready is None:
        return api.Ready(sdk=has_streams)
    within = READY_WITHIN_S if ready.within_s is None else ready.within_s
    command = None if ready.command is None else tuple(map(filled, ready.command))
    return api.Ready(tcp=ready.tcp, command=command, sdk=ready.sdk, within_s=within)
