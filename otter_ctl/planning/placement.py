"""Modules -> hosts: what a topology says of them, as a question to `otter_ctl.placing`. Pure.

A module's needs are its budgets, as a room a host has its own; where hosts have GPUs, a module
that needs one fits only there. Streams are the flows: a message of what `expect` says, or of a
kilobyte, weighs as much as there are a second. Must not know: addresses, agents.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from otter_agent.api import Info
from otter_ctl.errors import PlacementError
from otter_ctl.placing import Flow, Item, Reason, Request, Room, UnplacedError
from otter_ctl.placing import explain as explained
from otter_ctl.placing import place as placed
from otter_ctl.placing.request import CrossS
from otter_ctl.planning import gpus as of_gpus
from otter_ctl.planning.held import NO_IMAGES, Images
from otter_ctl.planning.prediction import DEFAULT_BYTES
from otter_ctl.topology.access import ARCHITECTURES
from otter_ctl.topology.model import Gpu, Host, Machine, Module, On, Stream

NO_GPU = {"gpu": 0.0, "gpu_memory": 0.0}
ANYWHERE: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Placement:
    """Where all modules are.

    Attributes:
        seats: Module -> host, in the order of the file.
        request: What was asked, to explain it.
    """

    seats: Mapping[str, str]
    request: Request

    def reasons(self) -> list[Reason]:
        """Why each is there, and nowhere else."""
        return explained(self.request, self.seats)


def offered(machine: Machine | None, arch: str | None) -> frozenset[str]:
    """What a host offers by being on a machine: its labels and its processors' kind.

    One that isn't known yet, since nobody was asked, may be any.
    """
    labels = machine.labels if machine else ()
    kinds = (arch,) if arch else dict.fromkeys(ARCHITECTURES.values())
    return frozenset((*(f"label {label}" for label in labels), *(f"arch {kind}" for kind in kinds)))


def able(info: Info) -> frozenset[str]:
    """What a machine's agent can run, in the words that modules ask in where there are several."""
    return frozenset(f"runtime {fact.name}" for fact in info.runtimes if fact.usable)


def place(
    hosts: Sequence[Host],
    modules: Sequence[Module],
    streams: Sequence[Stream],
    current: Mapping[str, str],
    *,
    cross_s: CrossS,
    offers: Mapping[str, frozenset[str]],
    placer: str = "greedy",
    machines: Mapping[str, str] = ANYWHERE,
    images: Images = NO_IMAGES,
) -> Placement:
    """Place every module.

    Args:
        hosts: In the order of the file; at least one.
        modules: In the order of the file.
        streams: Between them.
        current: Module -> host, where running modules are.
        cross_s: Latency of a message between two hosts.
        offers: Host -> what `offered` says of its machine; with what `able` says of it, modules
            ask for their runtimes.
        placer: As `placement` of the topology.
        machines: Host -> machine, as far as that is known.
        images: Which images the machines hold.

    Raises:
        PlacementError: A module fits on no host; says why for each.
        OtterError: The placer failed.
    """
    none: frozenset[str] = frozenset()
    gpus = any(host.gpu for host in hosts)
    asks = any(word.startswith("runtime ") for has in offers.values() for word in has)
    rooms = (
        Room(
            name=h.name,
            has=_has(h, gpus),
            offers=offers.get(h.name, none) | _several(h),
            store=machines.get(h.name, ""),
        )
        for h in hosts
    )
    only = hosts[0].name if len(hosts) == 1 else None
    request = Request(
        rooms=tuple(rooms),
        items=tuple(
            _item(m, current.get(m.name, ""), only, images.needed([m]), asks=asks, gpus=gpus)
            for m in modules
        ),
        flows=tuple(_flow(s) for s in streams),
        cross_s=cross_s,
        sends=images.sends if machines else {},
    )
    if only is not None:
        _check_only(hosts[0], request)
    try:
        return Placement(placed(request, placer), request)
    except UnplacedError as error:
        raise PlacementError(error.item, error.rejected) from None


def _has(host: Host, gpus: bool) -> dict[str, float]:
    """What a host has; `gpus`: some host says that it has one, so others have none."""
    budget = {"cpu": host.cpu, "memory": host.memory_bytes}
    if gpus:
        budget |= _gpu(host.gpu, whole=True)
    return {kind: float(has) for kind, has in budget.items() if has is not None}


def _gpu(gpu: Gpu | None, *, whole: bool = False) -> dict[str, float | None]:
    """Of a host without a GPU: none of it; of one that says not how much: all of it."""
    if gpu is None:
        return dict(NO_GPU) if whole else {}
    share = gpu.share if gpu.share is not None or not whole else 1.0
    return {"gpu": share, "gpu_memory": gpu.memory_bytes}


def _several(host: Host) -> frozenset[str]:
    return of_gpus.offers(host.gpu.count or 1) if host.gpu is not None else frozenset()


def _item(
    module: Module,
    now: str,
    only: str | None,
    images: frozenset[str],
    *,
    asks: bool,
    gpus: bool,
) -> Item:
    wants = wants_of(module.on)
    if gpus and module.gpu is not None:
        wants |= of_gpus.wants([module.gpu.count])
    if asks and (runtime := needed_runtime(module)):
        wants |= {f"runtime {runtime}"}
    needs = {"cpu": module.cpu, "memory": module.memory_bytes, **_gpu(module.gpu)}
    return Item(
        name=module.name,
        needs={kind: float(need) for kind, need in needs.items() if need},
        wants=wants,
        room=module.host or only,
        among=None if module.among is None else frozenset(module.among),
        beside=module.beside,
        apart=module.apart,
        now=now,
        images=images,
    )


def needed_runtime(module: Module) -> str:
    """The only one that it can have; empty: whichever there is."""
    return module.runtime or ("docker" if module.image is not None else "")


def wants_of(on: On | None) -> frozenset[str]:
    """What `on` asks of a machine, in the words of `offered`."""
    if on is None:
        return frozenset()
    wants = {f"label {label}" for label in on.labels}
    if on.arch is not None:
        wants.add(f"arch {ARCHITECTURES.get(on.arch, on.arch)}")
    return frozenset(wants)


def _flow(stream: Stream) -> Flow:
    size = DEFAULT_BYTES if stream.expect_bytes is None else stream.expect_bytes
    return Flow(
        name=stream.name,
        source=stream.source,
        target=stream.target,
        message_bytes=float(size),
        weight=stream.expect_per_s or 1.0,
    )


def _check_only(host: Host, request: Request) -> None:
    """Where there is no choice modules share, as if each had named the host; but each must fit."""
    room = request.rooms[0]
    for item in request.items:
        if item.apart:
            why = f"has {item.apart[0]}, which it must be apart from"
            raise PlacementError(item.name, {host.name: why})
        alone = Request(
            rooms=(room,),
            items=(Item(name=item.name, needs=item.needs, wants=item.wants),),
            cross_s=request.cross_s,
        )
        try:
            placed(alone)
        except UnplacedError as error:
            raise PlacementError(error.item, error.rejected) from None
