"""How much longer than the machine that `latency.py` was set by another takes to wake up. Pure.

What modules, link drivers and tunnels take is mostly waking up, so one figure of a machine scales
all of it: what a message takes between two of its processes that rest in between, as its agent has
measured it (`otter_agent/waking.py`). The parts are each scaled by where they happen.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from otter_agent import api
from otter_ctl.planning.crossing import Step
from otter_ctl.planning.latency import HOP_S, OWN_S, OWN_S_PER_BYTE, Parts

MESSAGE_BYTES = 10_000
REFERENCE_S = OWN_S + MESSAGE_BYTES * OWN_S_PER_BYTE
"""What such a message takes where `latency.py` was measured."""
Pace = Callable[[str], float]
"""Host -> how many times as long waking up takes on its machine."""


def as_measured(host: str) -> float:
    """Of machines that have measured nothing."""
    return 1.0


def of_machine(info: api.Info | None) -> float:
    """That of a machine; 1 where it isn't known."""
    return 1.0 if info is None or info.waking_s is None else info.waking_s / REFERENCE_S


def at_pace(parts: Parts, ends: tuple[str, str], path: Sequence[Step], pace: Pace) -> Parts:
    """What a message takes on machines of that pace.

    Args:
        parts: The same, of the machine of `latency.py`.
        ends: The sender's host and the receiver's.
        path: Links that it crosses, each of which its sending end makes scarce.
        pace: Of each host.
    """
    return replace(
        parts,
        transport_s=parts.transport_s * _between(*ends, pace),
        driver_s=HOP_S * sum(pace(step.source) for step in path),
        tunnel_s=sum(step.tunnel_s * _between(step.source, step.target, pace) for step in path),
    )


def _between(one: str, other: str, pace: Pace) -> float:
    return (pace(one) + pace(other)) / 2
