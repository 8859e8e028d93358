"""A planner for drivers that have none of their own: a thread that waits, and calls the driver.

Must not know: which driver, who plans.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Mapping

from net.errors import OtterError
from otter_agent.links.base import Direction, LinkDriver, Outcome
from otter_agent.links.planner import Log, Part, Plan, Planner, Played
from otter_agent.links.telling import as_network_error


class PlanningThread(Planner):
    """Ends when nothing is to come, and is there again when something is.

    Args:
        driver: What makes it so.
    """

    def __init__(self, driver: LinkDriver) -> None:
        self._driver = driver
        self._plan = Plan()
        self._log: Log[Played] = Log()
        self._news = threading.Condition()
        self._acting = threading.Lock()
        self._thread: threading.Thread | None = None

    def play(
        self, mesh: str, parts: Mapping[Direction, Part]
    ) -> tuple[dict[Direction, Outcome], list[Played]]:
        """See `Planner`."""
        outcomes: dict[Direction, Outcome] = {}
        at_once = {d: part.now for d, part in parts.items() if part.now is not None}
        if at_once:
            with self._acting:  # nothing of before is made after it
                with self._news:
                    for direction in at_once:
                        self._plan.drop(direction)
                outcomes = self._driver.apply(at_once)
        with self._news:
            for direction, part in parts.items():
                for later in part.later:
                    self._plan.add(direction, later)
            if self._thread is None and self._plan.next_s < math.inf:
                self._thread = threading.Thread(
                    target=self._run, name="otter-timeline", daemon=True
                )
                self._thread.start()
            self._news.notify()
            return outcomes, self._log.take(mesh)

    def _run(self) -> None:
        while True:
            with self._news:
                wait = self._plan.next_s - time.monotonic()
                if wait == math.inf:
                    self._thread = None
                    return
                if wait > 0:
                    self._news.wait(wait)
                    continue
            with self._acting:
                self._make()

    def _make(self) -> None:
        with self._news:
            due = self._plan.due(time.monotonic())
        if not due:
            return
        outcomes: dict[Direction, Outcome] = {}
        try:
            outcomes = self._driver.apply({direction: later.spec for direction, later in due})
        except OtterError as exc:
            error = as_network_error(exc)
            outcomes = {direction: Outcome(applied=None, error=error) for direction, _ in due}
        at_s = time.monotonic()
        with self._news:
            for direction, later in due:
                played = Played(later.number, at_s, outcomes[direction].error)
                self._log.note(direction.mesh, played)
