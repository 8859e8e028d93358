"""Changes that the agent has told the helper ahead, made at their time between packets.

Must not know: links, devices, the agent.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

from net.links.spec import LinkSpec
from otter_agent.links.base import Direction
from otter_agent.links.planner import Log, Plan
from otter_agent.links.tun.protocol import Came

_AT_ONCE = 50
"""Then packets have their turn; it is some milliseconds."""


class Agenda:
    """What is to come, and what came.

    Args:
        ask: Makes it so; whether the direction is carried.
    """

    def __init__(self, ask: Callable[[Direction, LinkSpec], bool]) -> None:
        self._ask = ask
        self._plan = Plan()
        self._log: Log[Came] = Log()
        self.drop = self._plan.drop
        self.add = self._plan.add
        self.came = self._log.take

    @property
    def next_s(self) -> float:
        """When to go on; infinite: never."""
        return self._plan.next_s

    def specs(self) -> Iterator[LinkSpec]:
        """What is asked for by then."""
        return self._plan.specs()

    def go(self, now: float) -> None:
        """Do what is due."""
        if self._plan.next_s > now:
            return
        for direction, later in self._plan.due(now, _AT_ONCE):
            carried = self._ask(direction, later.spec)
            came = Came(number=later.number, at_s=time.monotonic(), carried=carried)
            self._log.note(direction.mesh, came)
