"""Hosts that ask for cores of a speed, and what these are of their machines' cores. Pure.

And hosts of a device whose speed nobody knows: their name says more than they are.
"""

from __future__ import annotations

from collections.abc import Mapping

from otter_agent import api
from otter_ctl.topology.model import Host, Topology

MOST = 8
"""Lines; then they are counted."""


def speed_lines(
    topology: Topology, machines: Mapping[str, str], infos: Mapping[str, api.Info]
) -> tuple[str, ...]:
    """`host pi: 4 cores of speed 0.3: 2 of this machine's, of 0.6`; those of a `count` once.

    Of hosts with a profile that has no speed: that their cores are the machine's.

    Args:
        topology: All of it.
        machines: Host -> machine.
        infos: Machine -> what its agent says, as far as it was asked.
    """
    found: dict[str, None] = {}
    for host in topology.hosts:
        if host.speed is None:
            if host.profile is not None and not host.whole:
                found[f"host {host.made_from or host.name}: {_unknown(host)}"] = None
            continue
        info = infos.get(machines.get(host.name, ""))
        worth = info.hardness if info is not None else api.Hardness()
        text = api.speed_text(host.cpu, host.speed, worth)
        found[f"host {host.made_from or host.name}: {text}"] = None
    lines = list(found)
    more = [f"and {len(lines) - MOST} more hosts likewise"] if len(lines) > MOST else []
    return (*lines[:MOST], *more)


def _unknown(host: Host) -> str:
    what = "cores" if host.cpu is None else f"{host.cpu:g} core{'' if host.cpu == 1 else 's'}"
    speed = "as fast as the machine's, as no source gives theirs; write speed = …"
    return f"profile {host.profile}: {what} {speed}"
