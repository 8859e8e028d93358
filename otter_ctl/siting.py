"""Where the parts of a topology go, and what the machines there are: before anything is planned.

Must not know: how plans are made, how they are brought.
"""

from __future__ import annotations

import asyncio
import ipaddress
import secrets
import socket
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path

from net.errors import OtterError
from net.links.spec import LinkSpec
from otter_agent import api
from otter_ctl.client import AgentClient
from otter_ctl.deploy import check_version
from otter_ctl.errors import PartMissing, PlanError, RemoteError
from otter_ctl.fleet import Found
from otter_ctl.images.calls import ImageCalls
from otter_ctl.many import each, together
from otter_ctl.placing.request import Barred
from otter_ctl.planning.arranging import arrange
from otter_ctl.planning.held import NO_IMAGES, Images, held, questions
from otter_ctl.planning.hosting import Grounds, Hosting, candidates, choices
from otter_ctl.planning.model import Blob, Upload
from otter_ctl.planning.parts import join, kept_clock, kept_opens, kept_tunnels, kept_underlay
from otter_ctl.planning.tunnels import Measuring, Pair, Wires, unjoinable
from otter_ctl.planning.unheard import NOWHERE, Unheard, address_of, kept_there, supposed_part
from otter_ctl.planning.uploads import collect
from otter_ctl.sounding import sounded
from otter_ctl.spread import Fleet
from otter_ctl.topology.model import LOCAL, Host, Machine, Topology

DEAF_S = 1.0
"""What the way between two machines that don't answer each other's pings is taken for: they may
reach each other all the same, but hosts with links between them are rather elsewhere."""
MOST_MEASURED = 8
"""Machines among whom all ways are measured before hosts are placed; of more they are guessed."""


@dataclass(frozen=True, slots=True)
class Site:
    """The machines of a mesh as it is to be, and as it is.

    Attributes:
        hosting: Host -> machine, and why.
        infos: Machine -> what its agent says of it.
        found: Where it is now.
        wires: What the machines are to each other.
        blobs: What would be uploaded, where that had to be known; None: nobody has looked.
        left: Machines that are left out, and may still have a part of it.
        unheard: Machines that give no answer and have a part of it, or should.
        topology: With what is there kept there.
    """

    hosting: Hosting
    infos: Mapping[str, api.Info]
    found: Found = field(default_factory=Found)
    wires: Wires = field(default_factory=Wires)
    warnings: tuple[str, ...] = ()
    blobs: Mapping[Upload, Blob] | None = None
    left: tuple[str, ...] = ()
    unheard: Mapping[str, Unheard] = field(default_factory=dict)
    topology: Topology | None = None

    @property
    def machines(self) -> Mapping[str, str]:
        """Host -> machine."""
        return self.hosting.machines

    @property
    def names(self) -> list[str]:
        """The machines that it is to be on."""
        return sorted(set(self.machines.values()))

    @property
    def heard(self) -> list[str]:
        """Those of them that answer."""
        return [name for name in self.names if name not in self.unheard]


async def survey(
    fleet: Fleet,
    topology: Topology,
    facts: api.Info | None = None,
    *,
    measure: Measuring = "not",
    without: Collection[str] = (),
    partly: bool = False,
) -> Site:
    """Ask all machines that hosts may be on, and those that they are on; place the hosts.

    Args:
        fleet: All machines.
        topology: Of the mesh.
        facts: Of this machine, where no agent answers yet.
        measure: What the network between machines carries: of those of which it isn't known yet,
            or of all; it takes some megabytes.
        without: Machines that are left out; that they give no answer is no matter.
        partly: For a plan that is shown and not brought: it is made for those that answer, as if
            what is on the others stayed as it is there.

    Raises:
        OtterError: Not all of them answer that must: nothing is decided on half of what is known.
    """
    may = candidates(topology)
    infos, silent, lacking = await _asked(fleet, may, facts)
    if lacking and not (partly and infos):
        raise together(lacking)
    there = [name for name in infos if name != LOCAL or facts is None]
    there += [name for name in without if name not in there]  # perhaps all of it is there
    found = await fleet.places.look(topology.name, there) if there else Found()
    lost = {n: e for n, e in found.lost.items() if not isinstance(e, PartMissing)}  # it gets one
    lost = lacking | lost
    needed = {n: _last_known(n, e, found) for n, e in lost.items() if n not in without}
    if needed and not (partly and found.parts.keys() | infos.keys() - needed.keys()):
        raise together(needed)
    unheard = {n: _unheard(n, error, lost[n], found, fleet) for n, error in needed.items()}
    topology = kept_there(topology, unheard.values())
    site = await _sited(fleet, topology, found, _Told(infos, silent, unheard))
    if not site.heard:
        raise together(needed)
    had = {name for name in lost if name in found.aways or not found.parts}
    gone = tuple(sorted({*had, *found.absent} - unheard.keys()))
    left = tuple(f"machine {n} is left out: {why}" for n, why in sorted(silent.items()))
    site = replace(site, left=gone, warnings=left)
    return await _wired(fleet, site, measure) if site.names[1:] else site


@dataclass(slots=True)
class _Told:
    """What machines said: of themselves; or nothing, and why; of whom that matters apart."""

    infos: dict[str, api.Info]
    silent: dict[str, str]
    unheard: dict[str, Unheard]

    def __post_init__(self) -> None:
        for name in self.unheard:
            self.infos.pop(name, None)  # it was lost in between
            self.silent.pop(name, None)


async def _sited(fleet: Fleet, topology: Topology, found: Found, told: _Told) -> Site:
    """Hosts on machines, as far as machines answer."""
    may, infos = candidates(topology), told.infos
    parts = [part.spec for part in found.parts.values()]
    parts += [one.part for one in told.unheard.values() if one.part is not None]
    blobs = await asyncio.to_thread(collect, topology) if _placed(topology, may) else None
    near, deaf = await _distances(fleet, infos) if choices(may) else ({}, frozenset[Pair]())
    grounds = Grounds(
        infos,
        told.silent | {name: one.why for name, one in told.unheard.items()},
        near | {pair: DEAF_S for pair in deaf if pair[::-1] in deaf},
        {host.name: n for n, part in found.parts.items() for host in part.spec.hosts},
        await _images(fleet, topology, infos, blobs) if blobs is not None else NO_IMAGES,
        _barred(infos, deaf) if choices(may) else None,
    )
    hosting = arrange(topology, grounds, join(parts) if parts else None)
    hosting = replace(hosting, images=grounds.images, ways_s=near)
    for host in topology.hosts:
        if (machine := hosting.machines[host.name]) in infos:
            _fits(host, machine, infos[machine])
    return Site(hosting, infos, found, blobs=blobs, unheard=told.unheard, topology=topology)


async def _wired(fleet: Fleet, site: Site, measure: Measuring) -> Site:
    """The same, with what its machines are to each other."""
    topology, machines = site.topology, site.machines
    assert topology is not None
    wires, guessed = await _wires(fleet, site)
    ways = [way for way in _ways(topology, machines) if not site.unheard.keys() & {*way[2]}]
    over = {link.name: link.tunnel for link in topology.links}
    wires, warnings = await sounded(fleet, wires, ways, measure, over)
    between = {pair: underlay.delay_s for pair, underlay in wires.underlay.items()}
    rates = {pair: one.rate_bps for pair, one in wires.underlay.items() if one.rate_bps}
    ways_s = {**site.hosting.ways_s, **between}
    hosting = replace(site.hosting, ways_s=ways_s, ways_bps=rates)
    return replace(
        site, hosting=hosting, wires=wires, warnings=(*guessed, *warnings, *site.warnings)
    )


def _unheard(name: str, error: OtterError, lost: OtterError, found: Found, fleet: Fleet) -> Unheard:
    """A machine that gives no answer, with what the others know of it."""
    away, parts = found.aways.get(name), {n: part.spec for n, part in found.parts.items()}
    part, address = None, ""
    if away is not None and parts:
        known = next(iter(parts.values()))
        names = found.directory.names if found.directory is not None else known.names
        part = supposed_part(away, known, names)
        address = address_of(name, away.hosts, parts)
    machine = fleet.agents.machines.get(name)
    written = (machine.data or "") if machine is not None else ""
    address = address or (written if _is_address(written) else NOWHERE)
    return Unheard(name, error, lost.message.removeprefix(f"{name}: "), part, address)


def _last_known(name: str, error: OtterError, found: Found) -> OtterError:
    """The same, with what was there, and what can be done."""
    why = error.message.removeprefix(f"{name}: ")
    text = f"{why}; last known there: {found.known_of(name)}"
    go_on = f"go on without it: --without {name}"
    return RemoteError(name, text, hint=f"{error.hint}; or {go_on}" if error.hint else go_on)


async def _asked(
    fleet: Fleet, may: Mapping[str, tuple[str, ...]], facts: api.Info | None
) -> tuple[dict[str, api.Info], dict[str, str], dict[str, OtterError]]:
    """What the machines say that hosts may be on.

    Returns:
        What they say; why some don't, without which it can go; why others don't.
    """
    names = sorted({name for machines in may.values() for name in machines})
    needed = {machines[0] for machines in may.values() if len(machines) == 1}
    agents = await fleet.agents.of(names)
    if facts is not None:
        agents.pop(LOCAL, None)
    answers = await each(agents, lambda name, agent: agent.info())
    infos = answers.good
    if facts is not None and LOCAL in names:
        infos[LOCAL] = facts
    for name, info in infos.items():
        check_version(name, info)
    lacking = {name: error for name, error in answers.failed.items() if name in needed}
    failed = {name: error for name, error in answers.failed.items() if name not in needed}
    silent = {n: error.message.removeprefix(f"{n}: ") for n, error in failed.items()}
    return infos, silent, lacking


def _placed(topology: Topology, may: Mapping[str, tuple[str, ...]]) -> bool:
    """Whether anything is placed by what it costs, so that images count."""
    loose = any(module.host is None for module in topology.modules)
    return choices(may) or (loose and len(set(may.values())) > 1)


async def _images(
    fleet: Fleet, topology: Topology, infos: Mapping[str, api.Info], blobs: Mapping[Upload, Blob]
) -> Images:
    """Which images the machines hold, as far as they say; who has no engine holds none."""
    asked = questions(
        topology.modules, {p: blob.digest for p, blob in blobs.items() if isinstance(p, Path)}
    )
    if not asked or topology.images == "each":
        return NO_IMAGES
    agents = await fleet.agents.of(name for name, info in infos.items() if info.engine)
    answers = await each(agents, lambda name, agent: ImageCalls(agent, name).look(asked))
    return held(topology.modules, {name: answers.good.get(name, []) for name in infos})


def _barred(infos: Mapping[str, api.Info], deaf: frozenset[Pair]) -> Barred | None:
    """Why no link can lead between two machines; None: nothing is known that forbids any."""
    wires = Wires(
        addresses={name: info.networks[0].address if info.networks else name
                   for name, info in infos.items()},
        no_vxlan={name: info.tunnels for name, info in infos.items() if info.tunnels},
        no_udp={name: info.udp_tunnels for name, info in infos.items() if info.udp_tunnels},
        deaf=deaf,
    )  # fmt: skip
    if not (wires.no_vxlan or wires.no_udp or wires.deaf):
        return None
    return cache(lambda one, other, by: unjoinable(one, other, by, wires))


async def _distances(
    fleet: Fleet, infos: Mapping[str, api.Info]
) -> tuple[dict[Pair, float], frozenset[Pair]]:
    """Seconds one way between machines, as they measure it; and ways on which nothing came back.

    Where nobody measures, nothing is said.
    """
    if not 1 < len(infos) <= MOST_MEASURED:
        return {}, frozenset()
    addresses: dict[str, str] = {}
    for name, info in infos.items():
        if name in fleet.agents.machines:
            with suppress(OtterError):  # a machine that hosts needn't be on
                found_at = await _address(fleet, fleet.agents.machines[name], info)
                addresses[name] = found_at.address

    found = await _pinged(fleet, addresses, [(a, b) for a in addresses for b in addresses if a < b])
    back = [(b, a) for a, b in _silent(found)]  # perhaps only one of both is behind a NAT
    found |= await _pinged(fleet, addresses, back)
    near = {pair: reach.rtt_s / 2 for pair, reach in found.items() if reach.rtt_s is not None}
    return near, _silent(found)


async def _pinged(
    fleet: Fleet, addresses: Mapping[str, str], pairs: Sequence[Pair]
) -> dict[Pair, api.Reach]:
    async def ask(name: str, agent: AgentClient) -> dict[Pair, api.Reach]:
        return {
            (one, other): await agent.reach(addresses[one], addresses[other], api.MTU_BYTES)
            for one, other in pairs
            if one == name
        }

    answers = await each(await fleet.agents.of({one for one, _ in pairs}), ask)
    return {pair: reach for part in answers.good.values() for pair, reach in part.items()}


def _silent(found: Mapping[Pair, api.Reach]) -> frozenset[Pair]:
    return frozenset(pair for pair, r in found.items() if r.tried and r.rtt_s is None)


def _ways(topology: Topology, machines: Mapping[str, str]) -> list[tuple[str, LinkSpec, Pair]]:
    """Directions of links that lead from one machine to another."""
    return [
        (link.name, asked or LinkSpec(), (machines[a], machines[b]))
        for link in topology.links
        for a, b, asked in ((link.a, link.b, link.forward), (link.b, link.a, link.reverse))
        if machines[a] != machines[b]
    ]


def _fits(host: Host, machine: str, info: api.Info) -> None:
    if host.on is not None and host.on.arch not in (None, info.arch):
        why = f"asks for {host.on.arch}, machine {machine} is {info.arch}"
        raise PlanError(f"host {host.name}", why)


async def _wires(fleet: Fleet, site: Site) -> tuple[Wires, list[str]]:
    """What the machines are to each other, and what of it is a guess."""
    names, infos = site.heard, site.infos
    wanted = frozenset(names)
    reached = {name: m for name, m in fleet.agents.machines.items() if name in wanted}
    answers = await each(reached, lambda name, m: _address(fleet, m, infos[name]))
    found = answers.all()
    guessed = [one.guessed for _, one in sorted(found.items()) if one.guessed]
    addresses = {name: one.address for name, one in found.items()}
    differ(found)
    beyond = {name: one.address for name, one in site.unheard.items()}
    if LOCAL in names and LOCAL not in addresses:
        others = [a for a in {**addresses, **beyond}.values() if a != NOWHERE]
        own = [network.address for network in infos[LOCAL].networks]
        addresses[LOCAL] = _towards(others[0], infos[LOCAL]) if others else (*own, NOWHERE)[0]
    mtu = min(_network(infos[name], addresses[name], name).mtu for name in names)
    parts = {name: part.spec for name, part in site.found.parts.items()}
    kept_mtu = min((p.mtu + api.TUNNEL_BYTES for p in parts.values() if p.away), default=0)
    wires = Wires(
        addresses | beyond,
        secrets.token_hex(16),
        min(mtu, kept_mtu or mtu) if beyond else mtu,  # what isn't known now was so before
        kept_tunnels(parts, addresses),
        kept_mtu,
        no_vxlan={name: infos[name].tunnels for name in names},
        no_udp={name: infos[name].udp_tunnels for name in names},
        ports={name: infos[name].udp_port for name in names},
        kept_opens=kept_opens(parts),
        underlay=kept_underlay(parts, addresses | beyond),
        clock=kept_clock(parts),
    )
    return wires, guessed


_INNER = ("docker", "br-", "virbr", "cni", "lxc", "lxd", "podman")
"""Devices of engines: their addresses lead nowhere, and are the same on many machines."""


@dataclass(frozen=True, slots=True)
class At:
    """A machine's address for data; `guessed`: what is to be said of it, as nobody named it."""

    address: str
    guessed: str = ""


async def _address(fleet: Fleet, machine: Machine, info: api.Info) -> At:
    """A machine's address for data: what the site file says, or where SSH went."""
    if machine.data is None and machine.direct:
        return At("127.0.0.1")
    if machine.data is None and machine.docker is not None:
        return near("", machine.name, info, "its engine doesn't say which of its addresses it is")
    if machine.data is None:
        return near(await fleet.agents.roads[machine.name].address(), machine.name, info)
    if _is_address(machine.data):
        return At(machine.data)
    of = [network.address for network in info.networks if network.device == machine.data]
    if not of:
        there = ", ".join(sorted({network.device for network in info.networks})) or "none"
        why = f'data = "{machine.data}": it has no such interface with an IPv4 address'
        raise PlanError(f"machine {machine.name}", why, hint=f"there are: {there}")
    return At(of[0])


def near(
    told: str, machine: str, info: api.Info, untold: str = "SSH doesn't say where it goes"
) -> At:
    """Where SSH went, or, as links are IPv4's and between machines, another address of the same.

    Args:
        told: As the machine itself sees it: IPv6 and loopback among others; "": it doesn't say.
        machine: Its name.
        info: What its agent says; its first address is that towards the outside.
        untold: Why `told` is empty, if it is.
    """
    usable = _is_address(told) and not ipaddress.IPv4Address(told).is_loopback
    outer = [one for one in info.networks if not one.device.startswith(_INNER)]
    if usable or not outer:
        return At(told or NOWHERE)
    first = outer[0]
    where = f"SSH goes to {told}" if told else untold
    what = f"links to other machines go by {first.address} ({first.device})"
    return At(first.address, f"machine {machine}: {where}, {what}; its `data` can say otherwise")


def differ(found: Mapping[str, At]) -> None:
    """Raises `PlanError` where an address that nobody named is another machine's as well."""
    times = Counter(one.address for one in found.values())
    for name, one in sorted(found.items()):
        if one.guessed and times[one.address] > 1:
            why = f"its address for links, {one.address}, is another machine's, too"
            raise PlanError(f"machine {name}", why, hint="set its `data` in the site file")


def _towards(other: str, info: api.Info) -> str:
    """This machine's address towards another's: nothing is sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((other, api.TUNNEL_PORT))
        except OSError as error:
            why = f"no route to {other}: {error.strerror}"
            raise PlanError(
                f"machine {LOCAL}", why, hint="set its `data` in the site file"
            ) from error
        found: str = probe.getsockname()[0]
    return found


def _network(info: api.Info, address: str, name: str) -> api.NetworkFact:
    for network in info.networks:
        if network.address == address:
            return network
    there = ", ".join(network.address for network in info.networks) or "none"
    why = f"{address} is none of its addresses"
    hint = f"set its `data` in the site file; it has {there}"
    raise PlanError(f"machine {name}", why, hint=hint)


def _is_address(text: str) -> bool:
    try:
        ipaddress.IPv4Address(text)
    except ValueError:
        return False
    return True
