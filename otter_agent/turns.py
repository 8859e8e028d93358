"""Whose turn it is to change a mesh: two controllers at once would make halves of two plans. Pure.

A lease lives in memory and ends by itself, so a controller that is gone holds up nobody for long.
"""

from __future__ import annotations

from dataclasses import dataclass

from otter_agent import api
from otter_agent.errors import Locked

LONGEST_S = 120.0


@dataclass(frozen=True, slots=True)
class _Held:
    lease: api.Lease
    until: float


class Turns:
    """The leases of all meshes; `now` is any clock that isn't set."""

    def __init__(self) -> None:
        self._held: dict[str, _Held] = {}

    def take(self, mesh: str, lease: api.Lease, now: float) -> None:
        """Take it, keep it for longer, or give it back.

        Raises:
            Locked: Somebody else has it.
        """
        held = self._held.get(mesh)
        if held is None or not lease.instead or held.lease.controller != lease.instead:
            self.check(mesh, lease.holder, now)
        self._held = {name: held for name, held in self._held.items() if held.until > now}
        if lease.for_s > 0:
            self._held[mesh] = _Held(lease, now + min(lease.for_s, LONGEST_S))
        else:
            self._held.pop(mesh, None)

    def check(self, mesh: str, holder: str, now: float) -> None:
        """Whether `holder` may change a mesh now.

        Raises:
            Locked: Somebody else has its turn.
        """
        held = self._held.get(mesh)
        if held is None or held.until <= now or held.lease.holder == holder:
            return
        raise Locked(
            held.lease.controller,
            f"mesh {mesh} is being changed by {held.lease.who} right now",
            hint=f"wait and look again: otterctl plan; it ends within {held.until - now:.0f} s",
        )
