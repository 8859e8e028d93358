"""Which GPUs a module is given, and which level of the ladder holds it to its part. Pure.

    memory   limit: NVIDIA's driver, by control group, live
             mps: its control daemon, for clients as they start
             framework: PyTorch or TensorFlow themselves, told by the SDK; cooperative
             accounting: nobody; what is used is shown
    time     mps: a part of the multiprocessors, fixed at start
             lease: turns, of code that asks for them; live

Must not know: how anything of it is done, processes, files.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from otter_agent import api

OWN = ("CUDA_VISIBLE_DEVICES", "NVIDIA_VISIBLE_DEVICES")
"""What a module's own variables must not contradict, besides those of MPS."""
HOLDS = ("limit", "mps")
"""Levels that hold whoever doesn't want to be held."""


@dataclass(frozen=True, slots=True)
class Used:
    """What others were given of a GPU."""

    modules: int = 0
    memory_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Lacks:
    """Why a level can't be had for a module; "" if it can.

    Attributes:
        limit: The driver's.
        mps: MPS.
    """

    limit: str = ""
    mps: str = ""


@dataclass(frozen=True, slots=True)
class Variables:
    """What a module is started with.

    Attributes:
        env: All of it.
        at_odds: Those that its own variables say otherwise.
    """

    env: Mapping[str, str] = field(default_factory=dict)
    at_odds: tuple[str, ...] = ()


def chosen(
    ask: api.GpuAsk,
    gpus: Sequence[api.GpuFact],
    used: Mapping[str, Used],
    former: Collection[str] = (),
) -> tuple[str, ...]:
    """The GPUs for a module: those that it had, else those that the fewest others have.

    Memory that others were promised isn't promised again, as long as there is a GPU with enough;
    where there is none, all are promised more than there is. () if there are too few.
    """
    need = ask.memory_bytes or 0
    able = [g for g in gpus if g.memory_bytes is None or g.memory_bytes >= need]
    if len(able) < ask.count:
        return ()

    def cost(gpu: api.GpuFact) -> tuple[bool, bool, int, int]:
        its = used.get(gpu.uuid, Used())
        short = gpu.memory_bytes is not None and gpu.memory_bytes - its.memory_bytes < need
        return gpu.uuid not in former, short, its.modules, gpu.index

    picked = sorted(able, key=cost)[: ask.count]
    return tuple(gpu.uuid for gpu in sorted(picked, key=lambda gpu: gpu.index))


def memory_of(
    ask: api.GpuAsk, share: float | None, uuids: Collection[str], gpus: Sequence[api.GpuFact]
) -> int | None:
    """What a module may have of each of its GPUs: what it asks, else its share of the smallest."""
    if ask.memory_bytes is not None or share is None:
        return ask.memory_bytes
    smallest = total_of(uuids, gpus)
    return None if smallest is None else int(smallest * min(share, 1.0))


def total_of(uuids: Collection[str], gpus: Sequence[api.GpuFact]) -> int | None:
    """Memory of the smallest of them; None: one doesn't tell it, or is split into instances (MIG).

    CUDA sees one instance of a GPU that is split, and what that has isn't what the GPU has.
    """
    sizes = [g.memory_bytes for g in gpus if g.uuid in uuids and g.memory_bytes and not g.mig]
    return min(sizes) if len(sizes) == len(uuids) and sizes else None


def levels(
    memory_bytes: int | None, share: float | None, lacks: Lacks
) -> tuple[api.Level, api.Level, str]:
    """What holds a module to its memory and to its share, and why nothing better does."""
    memory: api.Level = "none"
    why = []
    if memory_bytes is not None:
        memory = "framework" if lacks.mps else "mps"
        memory = memory if lacks.limit else "limit"
    if memory in ("mps", "framework"):
        why.append(f"limit: {lacks.limit}")
    time: api.Level = "none" if share is None else "lease" if lacks.mps else "mps"
    if lacks.mps and (time == "lease" or memory == "framework"):
        why.append(f"mps: {lacks.mps}")
    return memory, time, "; ".join(why)


def variables(
    grant: api.GpuGrant, pipe: str, total_bytes: int | None, own: Mapping[str, str]
) -> Variables:
    """What a module with a grant is started with.

    Args:
        grant: It.
        pipe: MPS's pipe directory, as the module sees it.
        total_bytes: Memory of its smallest GPU, if that is known.
        own: What the module says itself: that is left as it is.
    """
    if not grant.uuids:
        return Variables()
    # By NVIDIA's runtime a container has what the second says, so that mustn't be at odds either.
    seen = OWN if grant.way == "env" else OWN[1:] if grant.way == "nvidia" else ()
    env = dict.fromkeys(seen, ",".join(grant.uuids))
    if "mps" in (grant.memory, grant.time):
        memory = grant.memory_bytes if grant.memory == "mps" else None
        share = grant.share if grant.time == "mps" else None
        env |= _of_client(pipe, len(grant.uuids), memory, share)
    if grant.memory_bytes is not None:
        env["OTTER_GPU_MEMORY_BYTES"] = str(grant.memory_bytes)
        # Under the driver's limit CUDA shows no more than that: all of it is the module's.
        shown = grant.memory_bytes if grant.memory == "limit" else total_bytes
        if shown:
            env["OTTER_GPU_MEMORY_FRACTION"] = f"{min(1.0, grant.memory_bytes / shown):.6f}"
    # Who has a part takes no more than it needs where nothing better holds it to that part.
    if grant.memory == "framework" or (grant.memory_bytes is None and grant.share is not None):
        env["TF_FORCE_GPU_ALLOW_GROWTH"] = "true"
    at_odds = tuple(name for name in env if own.get(name, env[name]) != env[name])
    return Variables(env, at_odds)


def _of_client(
    pipe: str, count: int, memory_bytes: int | None, share: float | None
) -> Mapping[str, str]:
    """What a client of MPS has to be started with.

    Args:
        pipe: The pipe directory.
        count: GPUs that it sees: only those may be named, or no limit holds of any. That they are
            numbered as it sees them, not as the daemon does, is an assumption: NVIDIA doesn't say.
        memory_bytes: Of each.
        share: Of the multiprocessors; more than all is all.
    """
    found = {"CUDA_MPS_PIPE_DIRECTORY": pipe}
    if memory_bytes is not None:
        mebibytes = max(1, memory_bytes >> 20)
        limits = (f"{number}={mebibytes}M" for number in range(count))
        found["CUDA_MPS_PINNED_DEVICE_MEM_LIMIT"] = ",".join(limits)
    if share is not None:
        found["CUDA_MPS_ACTIVE_THREAD_PERCENTAGE"] = f"{percent(share):.4g}"
    return found


def percent(share: float) -> float:
    """The part of the multiprocessors that MPS gives for a share; for more than all, all."""
    return min(100.0, max(1.0, share * 100))
