"""Where the parts of a topology go, and what the machines there are: before anything is planned.

Must not know: how plans are made, how they are brought.
"""

from __future__ import annotations

import ipaddress
import secrets
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from net.units import format_duration
from otter_agent import api
from otter_ctl.client import AgentClient
from otter_ctl.errors import PlanError, RemoteError
from otter_ctl.fleet import Found
from otter_ctl.many import each, together
from otter_ctl.planning.machines import assign
from otter_ctl.planning.parts import Wires, kept_tunnels
from otter_ctl.spread import Fleet
from otter_ctl.topology.model import LOCAL, Host, Machine, Topology


@dataclass(frozen=True, slots=True)
class Site:
    """The machines of a mesh as it is to be, and as it is.

    Attributes:
        machines: Host -> machine.
        infos: Machine -> what its agent says of it.
        found: Where it is now.
        wires: What the machines are to each other.
    """

    machines: Mapping[str, str]
    infos: Mapping[str, api.Info]
    found: Found = field(default_factory=Found)
    wires: Wires = field(default_factory=Wires)
    warnings: tuple[str, ...] = ()

    @property
    def names(self) -> list[str]:
        """The machines that it is to be on."""
        return sorted(set(self.machines.values()))


async def survey(fleet: Fleet, topology: Topology, facts: api.Info | None = None) -> Site:
    """Ask all machines that a topology names, and those that it is on.

    Args:
        fleet: All machines.
        topology: Of the mesh.
        facts: Of this machine, where no agent answers yet.

    Raises:
        OtterError: Not all of them answer: nothing is planned on half of what is known.
    """
    machines = assign(topology, None)
    names = sorted(set(machines.values()))
    agents = await fleet.agents.of(names)
    if facts is not None:
        agents.pop(LOCAL, None)
    infos = (await each(agents, lambda name, agent: agent.info())).all()
    if facts is not None:
        infos[LOCAL] = facts
    for name, info in infos.items():
        _same_version(name, info)
    for host in topology.hosts:
        _fits(host, machines[host.name], infos[machines[host.name]])
    found = await fleet.places.look(topology.name, list(agents))
    if found.lost:
        raise together(found.lost)
    wires = await _wires(fleet, names, infos, found) if names[1:] else Wires()
    warnings = await _tried(fleet, topology, machines, wires) if names[1:] else ()
    return Site(machines, infos, found, wires, warnings)


async def _tried(
    fleet: Fleet, topology: Topology, machines: Mapping[str, str], wires: Wires
) -> tuple[str, ...]:
    """What is to be said of the real network between machines that links join."""
    ways: dict[str, dict[str, list[tuple[str, float]]]] = {}
    for link in topology.links:
        for a, b, asked in ((link.a, link.b, link.forward), (link.b, link.a, link.reverse)):
            one, other = machines[a], machines[b]
            if one != other:
                delay = asked.delay_s if asked is not None and asked.delay_s else 0.0
                ways.setdefault(one, {}).setdefault(other, []).append((link.name, delay))

    async def ask(name: str, agent: AgentClient) -> list[str]:
        said = []
        for other, links in ways.get(name, {}).items():
            local, remote = wires.addresses[name], wires.addresses[other]
            said += _words(name, other, remote, await agent.reach(local, remote, wires.mtu), links)
        return said

    answers = await each(await fleet.agents.of(ways), ask)
    return tuple(line for name in sorted(answers.good) for line in answers.good[name])


def _words(
    name: str, other: str, address: str, found: api.Reach, links: Sequence[tuple[str, float]]
) -> list[str]:
    where = f"from machine {name} to {other} ({address})"
    if found.rtt_s is None:
        return [f"{where}: {found.error}: links between them may carry nothing"]
    said = []
    if not found.whole:
        said.append(f"{where}: large packets don't come through whole: set its interface's MTU")
    for link, delay in links:
        if 0 < delay < found.rtt_s / 2:
            took = format_duration(found.rtt_s / 2)
            said.append(f"link {link}: the network {where} alone takes {took} one way")
    return said


def _fits(host: Host, machine: str, info: api.Info) -> None:
    if host.on is not None and host.on.arch not in (None, info.arch):
        why = f"asks for {host.on.arch}, machine {machine} is {info.arch}"
        raise PlanError(f"host {host.name}", why)


def _same_version(name: str, info: api.Info) -> None:
    if info.api_version != api.API_VERSION:
        text = f"its agent is of version {info.version}, which speaks another API"
        hint = f"otterctl machine upgrade {name}"
        raise RemoteError(name, text, hint=hint)


async def _wires(
    fleet: Fleet, names: list[str], infos: Mapping[str, api.Info], found: Found
) -> Wires:
    reached = {name: m for name, m in fleet.agents.machines.items() if name in names}
    answers = await each(reached, lambda name, m: _address(fleet, m, infos[name]))
    addresses = answers.all()
    if LOCAL in names and LOCAL not in addresses:
        addresses[LOCAL] = _towards(next(iter(addresses.values())), infos[LOCAL])
    for name, info in infos.items():
        if info.tunnels:
            raise PlanError(f"machine {name}", f"no links to other machines: {info.tunnels}")
    mtu = min(_network(infos[name], addresses[name], name).mtu for name in names)
    parts = {name: part.spec for name, part in found.parts.items()}
    return Wires(addresses, secrets.token_hex(16), mtu, kept_tunnels(parts, addresses))


async def _address(fleet: Fleet, machine: Machine, info: api.Info) -> str:
    """A machine's address for data: what the site file says, or where SSH went."""
    if machine.data is None and machine.direct:
        return "127.0.0.1"
    if machine.data is None:
        return await fleet.agents.roads[machine.name].address()
    if _is_address(machine.data):
        return machine.data
    of = [network.address for network in info.networks if network.device == machine.data]
    if not of:
        there = ", ".join(sorted({network.device for network in info.networks})) or "none"
        why = f'data = "{machine.data}": it has no such interface with an IPv4 address'
        raise PlanError(f"machine {machine.name}", why, hint=f"there are: {there}")
    return of[0]


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
