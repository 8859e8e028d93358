"""The fake link driver: remembers what it is asked and moves no packet.

A mesh of fake modules, and tests, run with it anywhere. Knobs make it refuse and fail.
"""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import ClassVar

from net.links.spec import LinkSpec
from otter_agent.errors import NetworkError
from otter_agent.links.base import (
    Counters,
    DeviceKind,
    Direction,
    Facts,
    LinkDriver,
    Outcome,
)
from otter_agent.links.planner import Planner
from otter_agent.links.planning import PlanningThread


@dataclass(slots=True)
class FakeLinks(LinkDriver):
    """Keeps the properties of directions in memory.

    Attributes:
        usable: What probing finds.
        refuses: Field -> why it can't be done.
        fails: Name of a link -> why setting it fails.
        done: Direction -> what is "in force".
        calls: How often `apply` was called.
        plans: Whether it makes changes at their time by itself.
    """

    name: ClassVar[str] = "fake"
    device_kind: ClassVar[DeviceKind] = "veth"
    usable: bool = True
    refuses: dict[str, str] = field(default_factory=dict)
    fails: dict[str, str] = field(default_factory=dict)
    done: dict[Direction, LinkSpec] = field(default_factory=dict)
    calls: int = 0
    plans: bool = False
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _planner: Planner | None = None

    def probe(self) -> Facts:
        """As the knob says."""
        return Facts(usable=self.usable, detail="moves no packet", error_s=0.0)

    def refusals(self, spec: LinkSpec) -> dict[str, str]:
        """As the knob says."""
        return {name: why for name, why in self.refuses.items() if name in spec.asked()}

    def apply(self, asked: Mapping[Direction, LinkSpec]) -> dict[Direction, Outcome]:
        """Remember."""
        outcomes = {}
        with self._lock:
            self.calls += 1
            for direction, spec in asked.items():
                why = self.fails.get(direction.link)
                if why:
                    error = NetworkError("fake", "shape", str(direction), why)
                    outcomes[direction] = Outcome(applied=self.done.get(direction), error=error)
                    continue
                self.done[direction] = spec
                outcomes[direction] = Outcome(applied=spec)
        return outcomes

    def read(self, directions: Iterable[Direction]) -> dict[Direction, LinkSpec]:
        """What is remembered."""
        with self._lock:
            return {d: self.done.get(d, LinkSpec()) for d in directions}

    def counters(self, directions: Collection[Direction]) -> dict[Direction, Counters]:
        """Nothing passes."""
        return {d: Counters() for d in directions if d in self.done}

    def forget(self, mesh: str, keep: Collection[Direction] = ()) -> None:
        """Forget."""
        with self._lock:
            self.done = {d: s for d, s in self.done.items() if d.mesh != mesh or d in keep}

    def planner(self) -> Planner | None:
        """As the knob says."""
        if self.plans and self._planner is None:
            self._planner = PlanningThread(self)
        return self._planner
