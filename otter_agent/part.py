"""What an agent knows of one module beyond what is durable.

Must not know: how it came to know it, what follows from it.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

from otter_agent import api
from otter_agent.reconcile import Seen
from otter_agent.runtimes.base import Artifact, Instance, Phase


@dataclass(slots=True)
class Part:
    """One module; changed by its keeper only.

    Attributes:
        host: Where its instance was made; None: nowhere yet.
        artifact_of: The instance digest that `artifact` and `artifact_error` are about.
        error_tail: Last lines of the build that failed.
        trouble: What went wrong when it was last asked whether it is ready; "": nothing.
        lacks: What it can't start without and that only the caller can bring: secrets; "": nothing.
        overdue: Why it counts as not ready in time; "" if it doesn't.
        limits_error: Why it hasn't the limits that are asked of it; "" if it has.
        busy: An action on it is under way.
        probing: It is being asked whether it is ready.
        said: State and reason that watchers were told last.
        changed: When `instance` last changed (monotonic).
    """

    runtime: str
    host: str | None = None
    instance: Instance | None = None
    artifact: Artifact | None = None
    artifact_of: str = ""
    artifact_error: str = ""
    error_tail: tuple[str, ...] = ()
    connected: bool = False
    ready: bool = False
    trouble: str = ""
    lacks: str = ""
    overdue: str = ""
    budget: api.Budget | None = None
    limits_error: str = ""
    retry_at: float = 0.0
    busy: bool = False
    probing: bool = False
    said: tuple[str, str] = ("", "")
    changed: float = 0.0

    @property
    def alive(self) -> bool:
        """It has a process."""
        return self.instance is not None and self.instance.phase in (Phase.HELD, Phase.RUNNING)

    def lives_on(self, ended: Instance) -> bool:
        """Whether it lives, and what ended was an earlier life of it."""
        now = self.instance
        return self.alive and now is not None and bool(ended.life) and now.life != ended.life

    def seen(self, runtime_problem: str, wants: api.Budget | None = None) -> Seen:
        """As the policy sees it; `wants`: the limits that are asked of it now."""
        return Seen(
            instance=self.instance,
            artifact=self.artifact is not None,
            artifact_error=self.artifact_error,
            connected=self.connected,
            ready=self.ready,
            budget=self.budget,
            wants=wants,
            busy=self.busy,
            retry_at=self.retry_at,
            runtime_problem=runtime_problem,
        )

    def now_is(self, instance: Instance | None) -> None:
        """Take over what a runtime says; a life that ended was neither connected nor ready."""
        self.instance = instance
        self.changed = time.monotonic()
        if instance is None or instance.phase is not Phase.RUNNING:
            self.connected = self.ready = False
            self.overdue = self.trouble = ""
