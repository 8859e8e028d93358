"""Hosts -> the machines that carry them. Pure.

`machine` names one; `on` asks for the first that has the labels; all others are on `local`.
Must not know: SSH, agents.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace

from otter_agent.api import MeshSpec
from otter_ctl.errors import PlanError
from otter_ctl.planning.talking import seers
from otter_ctl.topology.machines import Labels
from otter_ctl.topology.model import LOCAL, Host, Topology


def assign(topology: Topology, arch: str | None) -> dict[str, str]:
    """Host -> machine, in the order of the file.

    Args:
        topology: Its machines hold all that its hosts name or ask for.
        arch: Kind of this machine's processors; None: not known.
    """
    labels = Labels(topology.machines)
    return {host.name: _machine(host, labels, arch) for host in topology.hosts}


def left_out(topology: Topology, names: Collection[str]) -> Topology:
    """As if there were no such machines: what may be elsewhere is placed there.

    Raises:
        PlanError: A host has to be on one of them.
    """
    if not names:
        return topology
    hosts = tuple(_elsewhere(host, frozenset(names)) for host in topology.hosts)
    machines = tuple(m for m in topology.machines if m.name not in names)
    return replace(topology, hosts=hosts, machines=machines)


def _elsewhere(host: Host, names: frozenset[str]) -> Host:
    if host.machine is None and host.among is None:
        return host
    among = () if host.among is None else tuple(name for name in host.among if name not in names)
    if host.machine not in names and (host.machine is not None or among):
        return host if host.among is None else replace(host, among=among)
    named = host.machine if host.machine is not None else ", ".join(host.among or ())
    why = f"may only be on machine {named}, which is left out"
    hint = f"let it be elsewhere: --set 'hosts.{host.name}.machine=\"NAME\"', or `among`"
    raise PlanError(f"host {host.name}", why, hint=hint)


def _machine(host: Host, machines: Labels, arch: str | None) -> str:
    if host.machine is not None:
        return host.machine
    if host.on is None:
        return LOCAL
    if not host.on.labels:  # other machines' kinds are theirs to say
        return LOCAL
    fitting = machines.having(host.on.labels)
    if arch is not None and host.on.arch not in (None, arch):
        return next((m.name for m in fitting if m.name != LOCAL), LOCAL)
    return fitting[0].name if fitting else LOCAL


def unreached(
    topology: Topology,
    machines: Mapping[str, str],
    arch: str | None,
    reached: Collection[str] | None = None,
) -> Iterable[str]:
    """Why hosts can't be had where they should be, machine by machine.

    Args:
        topology: The hosts.
        machines: Host -> machine.
        arch: Kind of this machine's processors; None: not known.
        reached: The machines that are there; None: this one only.
    """
    away: dict[str, list[str]] = {}
    for host in topology.hosts:
        machine = machines[host.name]
        if reached is None and machine != LOCAL:
            away.setdefault(machine, []).append(host.name)
        elif host.on is not None and arch is not None and host.on.arch not in (None, arch):
            yield f"host {host.name}: asks for {host.on.arch}, this machine is {arch}"
    for machine, hosts in away.items():
        named = ", ".join(hosts[:3]) + (f" and {len(hosts) - 3} more" if hosts[3:] else "")
        what = f"hosts {named}" if hosts[1:] else f"host {named}"
        yield f"{what}: machine {machine}: not asked"


def apart(
    topology: Topology,
    seats: Mapping[str, str],
    machines: Mapping[str, str],
    spec: MeshSpec,
) -> Iterable[str]:
    """What has to be together and is on several machines.

    Args:
        topology: All of it.
        seats: Module -> host.
        machines: Host -> machine.
        spec: The plan's.
    """
    if len(set(machines.values())) < 2:
        return
    links = {link.name: link for link in spec.links}
    sources = {
        end.stream: (module.host, seats[end.peer])
        for module in spec.modules
        for end in module.streams_in
    }
    for event in spec.timeline.events:
        when = event.when
        if when is None:
            continue
        if when.kind == "link" and len(seers(links[when.name], machines, when.direction)) > 1:
            a, b = links[when.name].a, links[when.name].b
            ways = f'"{when.name}:{a}>{b}" or "{when.name}:{b}>{a}"'
            yield f"event {event.text}: link {when.name} is made scarce on two machines: say {ways}"
        ends = sources[when.name] if when.kind == "stream" and when.test == "lost" else ()
        if len({machines[host] for host in ends}) > 1:
            why = "its ends are on two machines, each of which loses messages of its own"
            yield f"event {event.text}: stream {when.name}: lost: {why}"
    for module in topology.modules:
        own = machines[seats[module.name]]
        for port in module.publish:
            if port.at is not None and machines[port.at] != own:
                where = f"{port.at}, which is on {machines[port.at]}"
                yield f"module {module.name}: publish at {where}, while it is on {own} itself"
