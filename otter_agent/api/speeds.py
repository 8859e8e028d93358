"""Cores of one speed as cores of a machine of another. Pure.

    4 cores of speed 0.3 asked   ─►   4 x 0.3 / 0.6 = 2 cores of a machine of speed 0.6

A core can be made slower by giving it less time, never faster. Source of the unit: a core that
Geekbench 6 scores with 2500 points (an Intel Core i7-12700) has speed 1.
"""

from __future__ import annotations

from collections.abc import Iterator

from otter_agent.api.facts import Hardness
from otter_agent.api.machine import Problem
from otter_agent.api.spec import HostSpec, MeshSpec, ModuleSpec
from otter_agent.api.status import Budget

DISKS = ("read_bytes_per_s", "write_bytes_per_s", "read_iops", "write_iops")
RATES = ("in_bps", "out_bps")
MAX_SPEED = 1000.0


def asked_of(item: HostSpec | ModuleSpec) -> Budget:
    """What the topology asks of a host or a module."""
    return Budget(
        cpu=item.cpu,
        memory_bytes=item.memory_bytes,
        speed=item.speed if isinstance(item, HostSpec) else None,
        read_bytes_per_s=item.read_bytes_per_s,
        write_bytes_per_s=item.write_bytes_per_s,
        read_iops=item.read_iops,
        write_iops=item.write_iops,
        in_bps=item.in_bps,
        out_bps=item.out_bps,
        storage_bytes=item.storage_bytes if isinstance(item, ModuleSpec) else None,
        gpu_share=item.gpu_share,
    )


def asks_disks(budget: Budget) -> bool:
    """Whether it limits what is read from or written to disks."""
    # Written out: it is asked of every module with each decision.
    return (
        budget.read_bytes_per_s is not None
        or budget.write_bytes_per_s is not None
        or budget.read_iops is not None
        or budget.write_iops is not None
    )


def asks_rates(budget: Budget) -> bool:
    """Whether it limits what is received or sent."""
    return budget.in_bps is not None or budget.out_bps is not None


def speeds(spec: MeshSpec) -> Iterator[tuple[str, float]]:
    """Who asks for which speed: hosts, then events; of hosts with real modules."""
    fake = {m.host for m in spec.modules} - {m.host for m in spec.modules if m.runtime != "fake"}
    for host in spec.hosts:
        if host.speed is not None and host.name not in fake:
            yield f"host {host.name}", host.speed
    for event in spec.timeline.events:
        speed = event.change.get("speed") if event.hosts else None
        if isinstance(speed, int | float):  # others are refused for what they are
            yield f"event {event.text}", float(speed)


def too_slow(spec: MeshSpec, machine: Hardness) -> Problem | None:
    """What to say of a mesh that wants faster cores than there are; None: it may run."""
    asking = [(who, asked) for who, asked in speeds(spec) if machine.too_slow(asked)]
    if spec.allow_degraded or not asking:
        return None
    who, asked = max(asking, key=lambda one: one[1])
    return Problem(
        code="unsupported-budget",
        message=f"mesh {spec.name}: {who} asks for cores of speed {asked:g}, "
        f"this machine's have {machine.speed:.3g}",
        hint="ask for slower ones, or say `allow_degraded = true` in the topology to have these",
    )


def speed_text(cpu: float | None, asked: float, machine: Hardness) -> str:
    """`4 cores of speed 0.3: 2 of this machine's, of 0.6`."""
    what = f"{cpu:g} core{'' if cpu == 1 else 's'}" if cpu is not None else "cores"
    what = f"{what} of speed {asked:g}"
    if machine.speed is None:
        return f"{what}: how fast this machine's are is measured when its agent first needs it"
    cores = machine.cores(cpu, asked)
    if machine.too_slow(asked):
        return f"{what}: this machine's are slower, {machine.speed:.3g}"
    got = "as many" if cores is None else f"{cores:.3g}"
    return f"{what}: {got} of this machine's, of {machine.speed:.3g}"
