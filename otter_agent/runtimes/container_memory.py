"""Which containers ran out of memory, by what the kernel tells of their modules' groups.

An engine hears of an end and of its cause by two ways that know no order, and says of a container
what it had heard when it ended: its "no" may be one that came too early. Where an agent takes over
a container that runs, there is its word alone. Must not know: the engine.
"""

from __future__ import annotations

import threading
from contextlib import suppress
from dataclasses import replace

from otter_agent.cgroups import Cgroups
from otter_agent.cgroups.ooms import Ooms
from otter_agent.runtimes.base import Instance, Key

SIGKILLED = 137


class OutOfMemory:
    """Judge of one agent's containers.

    Args:
        cgroups: Where they are.
    """

    def __init__(self, cgroups: Cgroups) -> None:
        self._cgroups = cgroups
        self._ooms: dict[Key, Ooms] = {}
        self._lock, self._closed = threading.Lock(), False

    def watch(self, key: Key, pid: int) -> None:
        """Begin with a life of one, before its own code runs. Blocking, in any thread."""
        self.forget(key)
        with suppress(OSError):  # the engine's word is what there is then
            if (ooms := self._cgroups.ooms(pid)) is None:
                return
            with self._lock:  # who waited for this thread may have been cancelled
                if not self._closed:
                    self._ooms[key] = ooms
                    return
            ooms.close()

    def judged(self, seen: Instance) -> Instance:
        """What the engine says of one, and whether it ran out of memory."""
        if seen.exit_code != SIGKILLED or seen.oom_killed:
            return seen
        ooms = self._ooms.get(seen.key)
        return replace(seen, oom_killed=ooms is not None and ooms.happened())

    def forget(self, key: Key) -> None:
        """Its life is over and told of."""
        if (ooms := self._ooms.pop(key, None)) is not None:
            ooms.close()

    def close(self) -> None:
        """Forget all, for good."""
        with self._lock:
            self._closed = True
        for key in [*self._ooms]:
            self.forget(key)
