"""What an agent tells of its machine's GPUs. Pure data, SI units.

A value is None where the GPU, or its driver, doesn't tell it: some never do (memory on Jetson).
"""

from __future__ import annotations

from typing import Literal

from otter_agent.api.base import Data
from otter_agent.api.gpus import GpuGrant, LevelFact


class GpuProcess(Data, frozen=True):
    """A process that uses a GPU."""

    pid: int
    """In the agent's pid namespace."""
    kind: Literal["compute", "graphics", "mps"]
    name: str = ""
    """The kernel's (`comm`); empty: it has ended, or is not to be seen from here."""
    memory_bytes: int | None = None
    mesh: str = ""
    module: str = ""
    """Whose it is; both empty: no module's of this agent."""


class GpuStatus(Data, frozen=True):
    """One GPU, now."""

    index: int
    uuid: str = ""
    name: str = ""
    memory_bytes: int | None = None
    memory_used_bytes: int | None = None
    utilisation: float | None = None
    """Share of the last sample period in which a kernel ran, 0 to 1."""
    memory_utilisation: float | None = None
    """Share of it in which its memory was read or written, 0 to 1."""
    clock_hz: float | None = None
    """Of its multiprocessors."""
    clock_max_hz: float | None = None
    memory_clock_hz: float | None = None
    temperature_c: float | None = None
    power_w: float | None = None
    power_limit_w: float | None = None
    mig: bool | None = None
    """Whether it is split into instances (MIG)."""
    processes: tuple[GpuProcess, ...] = ()
    untold: tuple[str, ...] = ()
    """What the GPU or its driver doesn't tell: `memory`, `utilisation`, `clock`, …"""
    error: str = ""
    """Why nothing is known of it: it was lost, say."""


class GpuShare(Data, frozen=True):
    """What a module had of something that it takes turns of (`net.lease()`)."""

    mesh: str
    module: str
    thing: str
    """What modules call it: `gpu`."""
    weight: float
    """Its part among all that want turns is its weight by theirs."""
    held_s: float
    """In all turns, since it began to share."""
    turns: int
    revoked: int = 0
    """Turns that were taken away: they lasted too long while others waited."""
    waiting: int = 0
    """Requests that wait, now."""
    holds_s: float | None = None
    """For how long it has had its turn; None: it has none now."""


class GpuState(Data, frozen=True):
    """The answer of `GET /v1/gpus`."""

    driver: Literal["nvml", "none"] = "none"
    why: str = ""
    """Why there is no driver, or nothing is known; a machine without GPUs is no error."""
    driver_version: str = ""
    cuda: str = ""
    """Newest version of CUDA that the driver serves."""
    gpus: tuple[GpuStatus, ...] = ()
    shares: tuple[GpuShare, ...] = ()
    """Of modules that take turns: also on machines without a GPU."""
    grants: tuple[GpuGrant, ...] = ()
    """What modules were given, and what holds them to it."""
    levels: tuple[LevelFact, ...] = ()
    """What could hold them to it: only of `POST /v1/gpus/verify`, which tries that."""


GpuStates = dict[str, GpuState]
"""By machine."""
