"""What modules ask of GPUs, what they were given, and how far that is enforced. Pure.

    GpuAsk ──the agent──► GpuGrant: which GPUs, and by which level of the ladder limits hold

    memory   limit ─► mps ─► framework ─► accounting     the first that can be had here is in force
    time             mps ─► lease     ─► accounting

Must not know: drivers, how a level is brought into force.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from otter_agent.api.base import Data
from otter_agent.api.machine import Problem

if TYPE_CHECKING:
    from otter_agent.api.facts import GpuFact
    from otter_agent.api.spec import MeshSpec, ModuleSpec

Level = Literal["limit", "mps", "lease", "framework", "accounting", "none"]
GpuWay = Literal["", "nvidia", "cdi", "env"]
MOST_GPUS = 64
MOST_WEIGHT = 1000.0
"""Of a share that is set by hand: 3 is three times one of 100 %."""


class GpuAsk(Data, frozen=True):
    """Of a module."""

    count: int = 1
    memory_bytes: int | None = None
    """Of each, at most; None: whatever is free."""
    required: bool = True
    """Whether it can't run without."""


LENIENT = GpuAsk(required=False)
"""Of a module that asks for a share alone: a GPU where there is one."""


class GpuGrant(Data, frozen=True):
    """What a module was given when it was made, and what holds it to that."""

    mesh: str
    module: str
    uuids: tuple[str, ...] = ()
    """Of its GPUs; none: it runs without."""
    memory_bytes: int | None = None
    """Of each, at most."""
    share: float | None = None
    """When it was made."""
    way: GpuWay = ""
    """How they come in: the engine's request to NVIDIA's runtime, CDI, or by variables alone."""
    memory: Level = "none"
    """What holds it to its memory; `none`: it has no limit."""
    time: Level = "none"
    """What holds it to its share; `none`: it has none."""
    why: str = ""
    """Why it has no GPU, or why no better level."""
    trouble: str = ""
    """Why what should hold it doesn't."""
    required: bool = False
    """Whether it can't run without."""


class LevelFact(Data, frozen=True):
    """A level of the ladder on a machine."""

    level: Level
    there: bool
    why: str = ""
    """Why not; or what was seen of it."""
    gpu: int | None = None
    """Of one GPU; None: of all."""


def gpus_of(module: ModuleSpec) -> GpuAsk | None:
    """What it asks; None: no GPU."""
    if module.gpu is not None:
        return module.gpu
    return LENIENT if module.gpu_share is not None else None


def no_gpus(spec: MeshSpec, gpus: Sequence[GpuFact], why: str) -> Problem | None:
    """What to say of a mesh on a machine that lacks GPUs that it can't do without; None: nothing.

    Args:
        spec: The mesh. Modules that aren't real need none.
        gpus: That the machine has.
        why: Why nothing is known of more.
    """
    for module in spec.modules:
        ask = module.gpu
        if ask is None or not ask.required or module.runtime == "fake":
            continue
        if reason := gpu_lack(ask, gpus, why):
            return Problem(
                code="unsupported-gpu",
                message=f"mesh {spec.name}: module {module.name} asks for {words(ask)}: {reason}",
                hint="ask for less, or say `allow_degraded = true` in the topology to run it "
                "without; `otterctl gpu ls` shows what there is",
            )
    return None


def without_gpus(spec: MeshSpec, gpus: Sequence[GpuFact], why: str) -> list[str]:
    """Modules that would like GPUs and run without, a line each."""
    return [
        f"module {module.name} runs without {words(module.gpu)}: {reason}"
        for module in spec.modules
        if module.gpu is not None and not module.gpu.required and module.runtime != "fake"
        if (reason := gpu_lack(module.gpu, gpus, why))
    ]


def gpu_lack(ask: GpuAsk, gpus: Sequence[GpuFact], why: str = "") -> str:
    """Why a machine can't give that; "" if it can. A GPU that tells no memory may have enough."""
    if len(gpus) < ask.count:
        return f"this machine has {len(gpus) or 'none'}{f' ({why})' if why else ''}"
    if ask.memory_bytes is None:
        return ""
    need = ask.memory_bytes
    big = [g for g in gpus if g.memory_bytes is None or g.memory_bytes >= need]
    if len(big) >= ask.count:
        return ""
    most = max(g.memory_bytes or 0 for g in gpus)
    return f"{len(big) or 'none'} here has so much: the largest has {most / 2**30:.3g} GiB"


def words(ask: GpuAsk) -> str:
    """`2 GPUs of 4 GiB each`, as people say it."""
    text = f"{ask.count} GPU{'' if ask.count == 1 else 's'}"
    if ask.memory_bytes is None:
        return text
    return f"{text} with {ask.memory_bytes / 2**30:.3g} GiB{'' if ask.count == 1 else ' each'}"
