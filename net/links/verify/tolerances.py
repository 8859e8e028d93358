"""How far off a link may be and still be right. Pure, and light: the agent knows it, too."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Tolerance:
    """How far off is still right: the larger of the two."""

    absolute: float = 0.0
    relative: float = 0.0

    def of(self, asked: float) -> float:
        """For an asked value, in its unit."""
        return max(self.absolute, self.relative * abs(asked))


TOLERANCES: Mapping[str, Tolerance] = {
    "delay": Tolerance(0.0005, 0.02),
    "jitter": Tolerance(0.0002, 0.1),
    "loss": Tolerance(0.001, 0.0),
    "loss-burst": Tolerance(0.0, 0.05),
    "rate": Tolerance(0.0, 0.02),
    "reorder": Tolerance(0.001, 0.0),
    "duplicate": Tolerance(0.001, 0.0),
    "corrupt": Tolerance(0.001, 0.0),
    "cpu": Tolerance(0.0, 0.15),
}
"""By property, in its SI unit and as a share of what was asked. Delay: three times the error that
the drivers have to keep on their own; it has to hold on a machine that works, too."""
