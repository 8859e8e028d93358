"""Hosts -> machines: what a topology says of them, as a question to `otter_ctl.placing`. Pure.

    machine = "m"         there, whether it fits or not
    among, on             on one of those, wherever it costs least
    nothing               on `local` as long as it fits there; else on another of the topology's

A machine has the cores and the memory that no other mesh holds; it offers its labels, its
processors' kind, its runtimes and what its kernel can do. Hosts' links are the flows: what streams
are expected to carry over them, and what the real network between two machines adds to that.
Must not know: SSH, agents' answers other than `Info`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from otter_agent import api
from otter_ctl.errors import PlacementError
from otter_ctl.placing import Flow, Item, Reason, Request, Room, UnplacedError
from otter_ctl.placing import explain as explained
from otter_ctl.placing import place as placed
from otter_ctl.placing.request import Barred
from otter_ctl.placing.rules import SLACK, WHOLE, amounts
from otter_ctl.planning import gpus as of_gpus
from otter_ctl.planning.crossing import Crossing
from otter_ctl.planning.held import NO_IMAGES, Images
from otter_ctl.planning.placement import needed_runtime, offered, wants_of
from otter_ctl.planning.prediction import DEFAULT_BYTES
from otter_ctl.topology.machines import Labels
from otter_ctl.topology.model import LOCAL, Host, Machine, Module, Topology

NEAR_S = 0.0001
"""One way between two machines of which nothing is known."""
TUNNEL_S = 0.00013
"""What a link takes that leaves its machine: two hops more, by VXLAN (`benchmarks/prediction.py`
on a calm machine)."""
NEAR_BPS = 1e9
"""What the network between machines is taken to carry."""
QUIET = 0.01
"""Messages a second over a link of which nothing is expected: who is joined is rather together."""
AWAY_S = 1.0
"""What it costs a host to be elsewhere than `local`, if its author says nothing of machines."""
OVERCOMMIT = 1000.0
"""Budgets may add up to more than there is: then as much as this is there of each."""


@dataclass(frozen=True, slots=True)
class Grounds:
    """What is known of the machines that hosts may be on.

    Attributes:
        infos: Machine -> what its agent says.
        silent: Machine -> why it says nothing: nothing new can be there.
        ways_s: (machine, machine) -> seconds one way, where that was measured.
        current: Host -> the machine that it is on now.
        images: Which images the machines hold.
        barred: (machine, machine, kind of tunnel that is asked for) -> why no link can lead from
            one to the other; None: all can.
    """

    infos: Mapping[str, api.Info]
    silent: Mapping[str, str] = field(default_factory=dict)
    ways_s: Mapping[tuple[str, str], float] = field(default_factory=dict)
    current: Mapping[str, str] = field(default_factory=dict)
    images: Images = NO_IMAGES
    barred: Barred | None = None

    def cross_s(self, one: str, other: str, message_bytes: float) -> float:
        """What a message takes from machine to machine, beside what its links take."""
        if one == other:
            return 0.0
        way = self.ways_s.get((one, other), self.ways_s.get((other, one), NEAR_S))
        return TUNNEL_S + way + 8 * message_bytes / NEAR_BPS


@dataclass(frozen=True, slots=True)
class Hosting:
    """Where all hosts are.

    Attributes:
        machines: Host -> machine, in the order of the file.
        request: What was asked, to explain it; None: there was no choice.
        ways_s: (machine, machine) -> seconds one way, where that was measured.
        ways_bps: The same -> what the network between them carries.
        images: Which images the machines hold.
    """

    machines: Mapping[str, str]
    request: Request | None = None
    ways_s: Mapping[tuple[str, str], float] = field(default_factory=dict)
    ways_bps: Mapping[tuple[str, str], float] = field(default_factory=dict)
    images: Images = NO_IMAGES

    def real_s(self, one: str, other: str) -> float:
        """What the network between the machines of two hosts takes, one way."""
        ends = self.machines[one], self.machines[other]
        if ends[0] == ends[1]:
            return 0.0
        return self.ways_s.get(ends, self.ways_s.get((ends[1], ends[0]), NEAR_S))

    def real_bps(self, one: str, other: str) -> float:
        """What the network between the machines of two hosts carries; infinite: not known."""
        return self.ways_bps.get((self.machines[one], self.machines[other]), math.inf)

    def tunnel_s(self, one: str, other: str) -> float:
        """What the tunnel between the machines of two hosts takes."""
        return 0.0 if self.machines[one] == self.machines[other] else TUNNEL_S

    def reasons(self) -> list[Reason]:
        """Why each is there, and nowhere else."""
        return [] if self.request is None else explained(self.request, self.machines)


def candidates(topology: Topology) -> dict[str, tuple[str, ...]]:
    """Host -> the machines that it may be on, `local` first where it is one of them."""
    labels = Labels(topology.machines)
    known = (LOCAL, *(m.name for m in topology.machines if m.name != LOCAL))
    return {host.name: _may(host, known, labels) for host in topology.hosts}


def _may(host: Host, known: tuple[str, ...], labels: Labels) -> tuple[str, ...]:
    if host.machine is not None:
        return (host.machine,)
    may = known if host.among is None else host.among
    if host.on is None or not host.on.labels:
        return may
    having = {machine.name for machine in labels.having(host.on.labels)}
    return tuple(name for name in may if name in having)


def choices(may: Mapping[str, Sequence[str]]) -> bool:
    """Whether any host may be on more than one machine."""
    return any(len(names) != 1 for names in may.values())


def house(topology: Topology, grounds: Grounds, seats: Mapping[str, str] | None = None) -> Hosting:
    """Place every host on a machine.

    Args:
        topology: All of it.
        grounds: The machines that `candidates` names.
        seats: Module -> host, as far as it is known; None: only modules that name their host.

    Raises:
        PlacementError: A host fits on no machine; says why for each.
        OtterError: The placer failed.
    """
    may = candidates(topology)
    fixed = {name: machines[0] for name, machines in may.items() if len(machines) == 1}
    overfull(topology, fixed, grounds.infos)
    if len(fixed) == len(may):
        return Hosting(fixed)
    request = _request(topology, grounds, may, seats)
    try:
        return Hosting(placed(request, topology.placement), request)
    except UnplacedError as error:
        raise PlacementError(error.item, error.rejected, kind="host") from None


def overfull(
    topology: Topology, machines: Mapping[str, str], infos: Mapping[str, api.Info]
) -> None:
    """Refuse budgets that add up to more than their machine has, whoever else is there.

    A mesh that is there already, and asks for no more than it has, is left alone.

    Raises:
        PlacementError: Names the host with which it gets too much.
    """
    if topology.overcommit:
        return
    asked = {host.name: host for host in topology.hosts}
    used: dict[tuple[str, str], float] = {}
    for name, machine in machines.items():
        info, host = infos.get(machine), asked[name]
        if info is None:
            continue
        for kind, budget in (("cpu", _cores(host, info)), ("memory", host.memory_bytes)):
            before = used.get((machine, kind), 0.0)
            has = _most(info, topology.name, kind)
            used[machine, kind] = before + (budget or 0.0)
            if budget and used[machine, kind] > has + SLACK:
                free = amounts(kind, max(0.0, has - before), float(budget))
                raise PlacementError(name, {machine: f"has {free} free"}, kind="host")


def _cores(host: Host, info: api.Info) -> float | None:
    """Of the machine; none while nobody knows how fast these are: its agent refuses them."""
    if host.speed is not None and info.speed is None:
        return None
    return host.cpu and host.cpu * info.hardness.scale(host.speed)


def _most(info: api.Info, mesh: str, kind: str) -> float:
    """All of a machine, or what the mesh was let in with if that is more."""
    own = [held for held in info.held if held.mesh == mesh]
    if kind == "cpu":
        return max(float(info.cpus), *(held.cpu for held in own), 0.0)
    return max(float(info.memory_bytes), *(float(held.memory_bytes) for held in own), 0.0)


def _request(
    topology: Topology,
    grounds: Grounds,
    may: Mapping[str, tuple[str, ...]],
    seats: Mapping[str, str] | None,
) -> Request:
    if seats is None:
        seats = {m.name: m.host for m in topology.modules if m.host is not None}
    inside: dict[str, list[Module]] = {host.name: [] for host in topology.hosts}
    for module in topology.modules:
        if module.name in seats:
            inside[seats[module.name]].append(module)
    gpus = any(info.gpus for info in grounds.infos.values())
    fake = bool(topology.modules) and all(m.runtime == "fake" for m in topology.modules)
    needs = _Needs(topology, _shaped(topology), grounds.images, gpus=gpus, fake=fake)
    sizes = frozenset(s for h in topology.hosts for s in of_gpus.sizes(h, inside[h.name]))
    return Request(
        rooms=tuple(_rooms(topology, grounds, may, sizes if gpus else None)),
        items=tuple(
            needs.item(host, may[host.name], inside[host.name], grounds.current)
            for host in topology.hosts
        ),
        flows=tuple(_flows(topology, seats)),
        cross_s=grounds.cross_s,
        noun="machine",
        crowded=False,
        sends=grounds.images.sends,
        barred=None if fake else grounds.barred,
    )


def _shaped(topology: Topology) -> frozenset[str]:
    """Hosts that make something of a link scarce."""
    found = set()
    for link in topology.links:
        for host, spec in ((link.a, link.forward), (link.b, link.reverse)):
            if spec is not None and spec.asked():
                found.add(host)
    return frozenset(found)


@dataclass(slots=True)
class _Needs:
    """Hosts -> items."""

    topology: Topology
    shaped: frozenset[str]
    images: Images
    gpus: bool
    """Whether any machine has one: else nobody can be told apart by it."""
    fake: bool
    """No module is real, so none has a network or a budget."""

    def item(
        self, host: Host, may: tuple[str, ...], inside: Sequence[Module], now: Mapping[str, str]
    ) -> Item:
        """What a host asks of its machine; its modules ask with it."""
        pinned = may[0] if len(may) == 1 else None
        bare = host.machine is None and host.among is None and host.on is None
        return Item(
            name=host.name,
            needs=self._amounts(host),
            wants=frozenset(self._wants(host, inside)),
            room=pinned,
            among=frozenset(may),
            beside=host.beside,
            apart=host.apart,
            now=now.get(host.name, ""),
            there={name: AWAY_S for name in may if name != LOCAL} if bare else {},
            images=self.images.needed(inside),
        )

    def _amounts(self, host: Host) -> dict[str, float]:
        # In cores of the reference where it asks for a speed: which machine's, isn't known yet.
        cores = host.cpu and host.cpu * min(1.0, host.speed or 1.0)
        asked: dict[str, float | None] = {"cpu": cores, "memory": host.memory_bytes}
        if self.gpus and host.gpu is not None:
            count = host.gpu.count or 1
            asked["gpu"] = count * (host.gpu.share or 0.0)
            asked["gpu_memory"] = count * (host.gpu.memory_bytes or 0)
        if host.whole:
            asked[WHOLE] = 1.0
        return {kind: float(value) for kind, value in asked.items() if value}

    def _wants(self, host: Host, inside: Sequence[Module]) -> Iterable[str]:
        lenient = self.topology.allow_degraded
        yield from wants_of(host.on)
        for module in inside:
            yield from wants_of(module.on)
            if runtime := needed_runtime(module):
                yield f"runtime {runtime}"
            if module.accelerator not in (None, "cpu"):
                yield f"accelerator {module.accelerator}"
        if host.gateway and not self.fake:
            yield "gateways"
        if host.name in self.shaped and not lenient and not self.fake:
            yield "link driver"
        asks = host.cpu or host.memory_bytes or host.speed or host.io
        if asks and not lenient and not self.fake:
            yield "budgets"
        if (host.net or any(m.net for m in inside)) and not lenient and not self.fake:
            yield "network rates"
        if self.gpus and (host.gpu is not None or any(m.gpu for m in inside)):
            yield "gpu"
            asked = (host.gpu, *(module.gpu for module in inside))
            yield from of_gpus.wants(gpu.count for gpu in asked if gpu is not None)
            yield from map(of_gpus.of_size, of_gpus.sizes(host, inside))


def _rooms(
    topology: Topology,
    grounds: Grounds,
    may: Mapping[str, Sequence[str]],
    gpus: frozenset[of_gpus.Size] | None,
) -> Iterable[Room]:
    """The machines that hosts may be on, `local` first, then in the order of the file.

    `gpus`: those that somebody asks for; None: no machine has any.
    """
    known = {machine.name: machine for machine in topology.machines}
    used = {name for names in may.values() for name in names}
    for name in (LOCAL, *(m for m in known if m != LOCAL)):
        if name not in used:
            continue
        info = grounds.infos.get(name)
        if info is None:
            why = grounds.silent.get(name, "doesn't answer")
            yield Room(name=name, closed=why)
        else:
            yield _room(name, known.get(name), info, topology, gpus)


def _room(
    name: str,
    machine: Machine | None,
    info: api.Info,
    topology: Topology,
    gpus: frozenset[of_gpus.Size] | None,
) -> Room:
    has = {kind: _free(info, topology.name, kind) for kind in ("cpu", "memory")}
    if topology.overcommit:
        has = {kind: OVERCOMMIT * amount for kind, amount in has.items()}
    has[WHOLE] = 1.0
    if gpus is not None:
        has["gpu"] = float(info.gpus)
        told = [gpu.memory_bytes for gpu in info.gpu_facts]
        if not info.gpus or (told and None not in told):  # one that tells nothing may have enough
            has["gpu_memory"] = float(sum(filter(None, told)))
    why = {f"runtime {fact.name}": "" if fact.usable else fact.detail for fact in info.runtimes}
    why |= {
        "gateways": info.gateways,
        "link driver": "" if info.link_driver != "none" else info.link_driver_why or "none",
        "budgets": "" if info.cgroup != "none" else info.cgroup_why or "none",
        "network rates": api.lack(info.features, "htb"),
    }
    offers = {what for what, lack in why.items() if not lack}
    offers |= {f"accelerator {name}" for name in info.accelerators}
    if info.gpus:
        offers |= {"gpu", *of_gpus.offers(info.gpus)}
        offers |= of_gpus.held(gpus or (), info.gpu_facts)
    lacks = {what: lack for what, lack in why.items() if lack}
    lacks |= {f"arch {kind}": f"it is {info.arch}" for kind in ("x86_64", "aarch64")}
    return Room(name=name, has=has, offers=offered(machine, info.arch) | offers, lacks=lacks)


def _free(info: api.Info, mesh: str, kind: str) -> float:
    """What no other mesh holds; or what this one was let in with, if that is more."""
    held = {True: 0.0, False: 0.0}
    for one in info.held:
        held[one.mesh == mesh] += one.cpu if kind == "cpu" else one.memory_bytes
    return max(held[True], (info.cpus if kind == "cpu" else info.memory_bytes) - held[False], 0.0)


def _flows(topology: Topology, seats: Mapping[str, str]) -> Iterable[Flow]:
    """Links as flows: what is expected over them, or next to nothing."""
    links = [api.Link(name=x.name, a=x.a, b=x.b, forward=x.forward, reverse=x.reverse)
             for x in topology.links]  # fmt: skip
    crossing = Crossing([host.name for host in topology.hosts], links)
    load: dict[str, tuple[float, float]] = {}
    for stream in topology.streams:
        if stream.source not in seats or stream.target not in seats:
            continue
        size = float(DEFAULT_BYTES if stream.expect_bytes is None else stream.expect_bytes)
        often = stream.expect_per_s or 1.0
        for step in crossing.path(seats[stream.source], seats[stream.target]) or ():
            weight, volume = load.get(step.link, (0.0, 0.0))
            load[step.link] = weight + often, volume + often * size
    for link in topology.links:
        weight, volume = load.get(link.name, (QUIET, QUIET * DEFAULT_BYTES))
        yield Flow(
            name=link.name,
            source=link.a,
            target=link.b,
            message_bytes=volume / weight,
            weight=weight,
            by=link.tunnel or "",
        )
