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
        gpu_share: Of modules: their weight among all that take turns.
        run: Of modules.
    """

    cpu: float | None = None
    memory_bytes: int | None = None
    gpu_share: float | None = None
    run: Run | None = None
