"""Hosts -> the machines that carry them. Pure.

`machine` names one; `on` asks for the first that has the labels; all others are on `local`. This
version reaches no other: what lies elsewhere is planned and told. Must not know: SSH, agents.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

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


def unreached(topology: Topology, machines: Mapping[str, str], arch: str | None) -> Iterable[str]:
    """Why hosts can't be had where they should be, machine by machine."""
    away: dict[str, list[str]] = {}
    for host in topology.hosts:
        machine = machines[host.name]
        if machine != LOCAL:
            away.setdefault(machine, []).append(host.name)
        elif host.on is not None and arch is not None and host.on.arch not in (None, arch):
            yield f"host {host.name}: asks for {host.on.arch}, this machine is {arch}"
    for machine, hosts in away.items():
        named = ", ".join(hosts[:3]) + (f" and {len(hosts) - 3} more" if hosts[3:] else "")
        what = f"hosts {named}" if hosts[1:] else f"host {named}"
        yield f"{what}: machine {machine}: machines beyond local are not reached by this version"
