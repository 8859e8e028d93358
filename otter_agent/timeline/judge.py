"""Whether a condition has become so, from what is seen of its value over time. Pure.

    armed ──it is so, for as long as it has to be──► fires ──once: that was all
      ▲                                                └──again──► waits until it isn't so any more
      └──────────── it has come back (as far as `rearm`, or: so many more are counted) ◄───────────┘

A count goes on when what is counted begins again at 0, as it does for a module's next life. Must
not know: what the value is of, clocks.
"""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from net.conditions import Condition

Value = float | str | None
"""None: nobody can tell."""


class Memory(msgspec.Struct, frozen=True):
    """What is kept over the agent's lives.

    Attributes:
        fired_s: When it fired last, from the epoch; None: never.
        fired: How often.
        armed: Whether it can fire.
        last: What a counter showed last; None: it is counted from what it shows first.
        total: Counted so far.
    """

    fired_s: float | None = None
    fired: int = 0
    armed: bool = True
    last: float | None = 0.0
    total: float = 0.0


@dataclass(slots=True)
class Judge:
    """Of one condition.

    Attributes:
        memory: What is kept.
        value: As it was seen last; of a count, since the epoch.
    """

    condition: Condition
    memory: Memory
    value: Value = None
    _since_s: float | None = None

    def sees(self, moment_s: float, value: Value) -> bool:
        """Take note of a value; whether it fires now."""
        when = self.condition
        self.value = value = self._counted(value) if when.sense == "count" else value
        if value is None or not self._is_so(value):
            self._since_s = None
            if value is not None and not self.memory.armed and self._is_back(value):
                self.memory = msgspec.structs.replace(self.memory, armed=True)
            return False
        if not self.memory.armed:
            return False
        if self._since_s is None:
            self._since_s = moment_s
        if moment_s - self._since_s < when.for_s:
            return False
        counts = when.again and when.sense == "count"
        self.memory = msgspec.structs.replace(
            self.memory, fired_s=moment_s, fired=self.memory.fired + 1, armed=counts
        )
        self._since_s = None
        return True

    def _counted(self, value: Value) -> Value:
        if not isinstance(value, int | float):
            return self.value
        memory, last = self.memory, self.memory.last
        more = 0.0 if last is None else value - last if value >= last else value
        if more or last is None or value != last:
            self.memory = msgspec.structs.replace(
                memory, last=float(value), total=memory.total + more
            )
        return self.memory.total

    def _is_so(self, value: float | str) -> bool:
        when = self.condition
        if isinstance(value, str) or when.sense == "state":
            return value == when.state
        if when.sense == "count":
            return value >= when.bound * (self.memory.fired + 1 if when.again else 1)
        return value > when.bound if when.sense == "above" else value < when.bound

    def _is_back(self, value: float | str) -> bool:
        """Whether it may fire again."""
        when = self.condition
        if not when.again:
            return False
        if isinstance(value, str) or when.rearm is None:
            return True
        return value <= when.rearm if when.sense == "above" else value >= when.rearm
