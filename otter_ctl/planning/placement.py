"""Modules without a host -> hosts: first fit by free cpu and memory. Pure.

What names its host is seated first, whether it fits or not: that was the author's choice. Then
what runs already stays where it is, also where it has become crowded, since moving means
restarting; unless the host is gone or has less than the module asks for by itself. Then the rest
in the order of the file, on the first host of the file with room. Must not know: addresses, links.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from net.units import format_size
from otter_ctl.errors import PlacementError
from otter_ctl.topology.model import Host, Module


@dataclass(slots=True)
class _Free:
    """What is left of a host."""

    cpu: float
    memory_bytes: float

    def take(self, module: Module) -> None:
        self.cpu -= module.cpu or 0.0
        self.memory_bytes -= module.memory_bytes or 0

    def refusal(self, module: Module) -> str:
        """Why the module doesn't fit; empty if it does."""
        if (module.cpu or 0.0) > self.cpu + 1e-9:
            return f"has {max(self.cpu, 0):g} of {module.cpu:g} cores free"
        if (module.memory_bytes or 0) > self.memory_bytes:
            free = format_size(max(int(self.memory_bytes), 0))
            return f"has {free} of {format_size(module.memory_bytes or 0)} memory free"
        return ""


def place(
    hosts: Sequence[Host], modules: Sequence[Module], current: Mapping[str, str]
) -> dict[str, str]:
    """Module -> host, in the order of `modules`.

    Args:
        hosts: In the order of the file; at least one.
        modules: In the order of the file.
        current: Where running modules are.

    Raises:
        PlacementError: A module fits on no host; says why for each.
    """
    whole = {h.name: h for h in hosts}
    free = {h.name: _all_of(h) for h in hosts}
    seats = {m.name: m.host for m in modules if m.host is not None}
    for module in modules:
        if module.host is not None:
            free[module.host].take(module)
    homeless = [m for m in modules if m.host is None]
    if len(hosts) == 1:
        return {m.name: _only(hosts[0], m) for m in modules}
    for module in homeless:
        host = current.get(module.name, "")
        if host in whole and not _all_of(whole[host]).refusal(module):
            seats[module.name] = host
            free[host].take(module)
    cursors: dict[tuple[float | None, int | None], int] = {}
    in_order = list(free.items())
    for module in homeless:
        if module.name not in seats:
            seats[module.name] = _first_fit(module, in_order, cursors)
    return {m.name: seats[m.name] for m in modules}


def _all_of(host: Host) -> _Free:
    return _Free(
        math.inf if host.cpu is None else host.cpu,
        math.inf if host.memory_bytes is None else host.memory_bytes,
    )


def _only(host: Host, module: Module) -> str:
    """Where there is no choice modules share, as if each had named the host."""
    why = _all_of(host).refusal(module)
    if why:
        raise PlacementError(module.name, {host.name: why})
    return host.name


def _first_fit(
    module: Module,
    free: Sequence[tuple[str, _Free]],
    cursors: dict[tuple[float | None, int | None], int],
) -> str:
    """The first host with room.

    Rooms only shrink: a host that had none for such a module has none for the next, so `cursors`
    remember where the search for such ones got to.
    """
    such = (module.cpu, module.memory_bytes)
    for at in range(cursors.get(such, 0), len(free)):
        host, left = free[at]
        if not left.refusal(module):
            left.take(module)
            cursors[such] = at
            return host
    raise PlacementError(module.name, {host: left.refusal(module) for host, left in free})
