"""Hosts that ask for cores of a speed, and what these are of their machines' cores. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from otter_agent import api
from otter_ctl.topology.model import Topology

MOST = 8
"""Lines; then they are counted."""


def speed_lines(
    topology: Topology, machines: Mapping[str, str], infos: Mapping[str, api.Info]
) -> tuple[str, ...]:
    """`host pi: 4 cores of speed 0.3: 2 of this machine's, of 0.6`; those of a `count` once.

    Args:
        topology: All of it.
        machines: Host -> machine.
        infos: Machine -> what its agent says, as far as it was asked.
    """
    found: dict[str, None] = {}
    for host in topology.hosts:
        if host.speed is None:
            continue
        info = infos.get(machines.get(host.name, ""))
        worth = info.hardness if info is not None else api.Hardness()
        text = api.speed_text(host.cpu, host.speed, worth)
        found[f"host {host.made_from or host.name}: {text}"] = None
    lines = list(found)
    more = [f"and {len(lines) - MOST} more hosts likewise"] if len(lines) > MOST else []
    return (*lines[:MOST], *more)
