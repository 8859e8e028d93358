"""What a timeline can change of a host or a module: limits, and whether it runs. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Run = Literal["running", "stopped", "paused"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Of one; None: not asked for.

    Attributes:
        cpu: Cores.
        speed: Of hosts: of one core; 1: the core that Geekbench 6 scores with 2500 points.
        read_bytes_per_s: From its disks.
        write_bytes_per_s: To its disks.
        read_iops: Reads per second.
        write_iops: Writes per second.
        in_bps: What it receives, bits per second of IP packets.
        out_bps: What it sends.
        gpu_share: Weight among all that take turns.
        run: Of modules.
    """

    cpu: float | None = None
    speed: float | None = None
    memory_bytes: int | None = None
    gpu_share: float | None = None
    read_bytes_per_s: int | None = None
    write_bytes_per_s: int | None = None
    read_iops: int | None = None
    write_iops: int | None = None
    in_bps: float | None = None
    out_bps: float | None = None
    run: Run | None = None
