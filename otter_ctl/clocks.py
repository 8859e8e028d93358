"""By how much a machine's clock is ahead of this one's, and how sure that is.

    here   t0 ───────────────── t1          the machine read its clock between t0 and t1, so
    there        └── its clock              offset = its − (t0 + t1) / 2, error <= (t1 − t0) / 2

Of some tries the one with the shortest way there and back says the most. Must not know: meshes.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass

from otter_ctl.client import AgentClient
from otter_ctl.many import Answers, each

TRIES = 8
QUESTIONS = 800
"""Of many machines each is asked less often, so that all together are asked no more than that."""
FEW_TRIES = 2
"""Where nothing goes by the answer but what is shown."""
AT_ONCE = 16
"""Machines: of more, answers would wait for this computer, and say so much less."""


@dataclass(frozen=True, slots=True)
class Offset:
    """The clock there is `offset_s` ahead of the clock here, give or take `error_s`."""

    offset_s: float = 0.0
    error_s: float = 0.0

    def there(self, wall_s: float) -> float:
        """A moment of the clock here, by the clock there."""
        return wall_s + self.offset_s

    def here(self, wall_s: float) -> float:
        """A moment of the clock there, by the clock here."""
        return wall_s - self.offset_s


async def measure_all(agents: Mapping[str, AgentClient], most: int = TRIES) -> Answers[Offset]:
    """Ask several, each so often at most."""
    tries = max(1, min(most, QUESTIONS // max(1, len(agents))))
    return await each(agents, lambda name, agent: measure(agent, tries), at_once=AT_ONCE)


async def measure(agent: AgentClient, tries: int = TRIES) -> Offset:
    """Ask an agent for the time."""
    best: Offset | None = None
    for _ in range(tries):
        begun, before = time.monotonic(), time.time()
        reading = await agent.clock()
        took = time.monotonic() - begun
        offset = Offset(reading.wall_s - (before + took / 2), took / 2)
        if best is None or offset.error_s < best.error_s:
            best = offset
    assert best is not None
    return best
