"""Budgets of hosts and modules, changed while a mesh runs. Pure data."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from otter_agent.api.base import Data
from otter_agent.api.status import Budget


class BudgetChange(Data, frozen=True, omit_defaults=True):
    """One change by hand in the body of `PATCH /v1/meshes/NAME/budgets`."""

    kind: Literal["host", "module"]
    name: str = "*"
    """Name or glob."""
    set: dict[str, Any] = msgspec.field(default_factory=dict)
    """`cpu` (cores), `speed` (of hosts), `memory_bytes`, `read_bytes_per_s`, `write_bytes_per_s`,
    `read_iops`, `write_iops`, `in_bps`, `out_bps`; None: unlimited. `gpu_share`, above 0: 1 is
    100 %, and more is a weight. What isn't named stays."""
    for_s: float | None = None
    """After so long it is as if it had never been; None: it lasts."""
    reset: bool = False
    """Undo all former changes by hand first."""


class Usage(Data, frozen=True):
    """What a host or a module uses, by the kernel's account of its control group."""

    kind: Literal["host", "module"]
    name: str
    at_s: float
    """When that was read, by a clock of the machine's that never steps."""
    host: str = ""
    """Of a module."""
    cpu_s: float | None = None
    """Of processor time, since its group was made; None: nobody accounts for it here."""
    memory_bytes: int | None = None
    """In use now, without what is cached of files."""


class BudgetStatus(Data, frozen=True):
    """What is asked of a host or a module, by whom, and what is in force."""

    kind: Literal["host", "module"]
    name: str
    asked: Budget
    """Now, by all layers together."""
    in_force: Budget
    """Read back from the kernel; nothing of a module that doesn't run."""
    layers: dict[str, dict[str, Any]] = msgspec.field(default_factory=dict)
    """Who asks: `topology`, `timeline`, `shape` (by hand), each over the one before. A value of
    None: unlimited."""
    reverts_in_s: float | None = None
    """When the next change by hand ends by itself; None: none does."""
    error: str = ""
    """Why it isn't as asked."""
    note: str = ""
    """What isn't limited as well as one may think: v1 throttles no buffered writes."""
