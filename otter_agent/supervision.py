"""What an agent remembers of a module, and how exits and orders change that. Pure.

Must not know: what is observed, drivers, the clock (`now` is passed in).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from otter_agent import api


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """Every time and number of the policy.

    Attributes:
        failures: In a row after which a module is `failed`; with the pauses below after about 8 s.
        backoff_s: Pause after the first failure; doubles with each further one.
        backoff_max_s: It grows no longer than this.
        moment_s: A module without a sign of readiness is ready if it lives this long: most broken
            ones don't.
        healthy_s: A run this long ends a series of failures (systemd's and Kubernetes' are alike).
        ground_s: Between two tries at namespaces, budgets or removals that failed.
        step_s: An engine that takes longer for one step hangs: the step failed.
        interrupted_s: An exit this shortly before the engine went away was the engine's doing.
    """

    failures: int = 5
    backoff_s: float = 0.5
    backoff_max_s: float = 30.0
    moment_s: float = 0.1
    healthy_s: float = 60.0
    ground_s: float = 2.0
    step_s: float = 120.0
    interrupted_s: float = 20.0

    def pause_s(self, streak: int) -> float:
        """Before the next start, after `streak` failures in a row."""
        return min(self.backoff_s * 2.0 ** max(0, streak - 1), self.backoff_max_s)

    def moment_of(self, memory: Supervision) -> float:
        """How long a module without a sign of readiness has to live to count as ready.

        After failures longer, so that a crash loop never looks ready.
        """
        return self.moment_s if memory.streak == 0 else 2 * self.pause_s(memory.streak)


PATIENCE = Patience()

_NEVER_BEGAN = (126, 127)
_CANNOT_RUN = ("otter gate: cannot run ", "otter: cannot run ")
"""What stands in a module's log if its program could not be started: see gate.c, child.py."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Supervision:
    """What the agent remembers of a module across its own restarts.

    Attributes:
        spec_digest: The `api.instance_digest` this memory is about; another one starts afresh.
        restarts: Starts again, after an exit or because somebody asked for it.
        streak: Failures in a row.
        armed: A start was made and its exit isn't accounted for yet.
        accounted: The life whose exit was accounted for last, where the runtime names lives: an
            agent killed between arming a start and making it would count that exit twice.
        started_at: When it was last released (unix seconds).
        retry_at: No start before this moment.
        exit_code: Of the last exit.
        exited_at: When that was noticed.
        outcome: "" while it is to run, else `done` or `failed`: no more starts.
        reason: Why it isn't running, one line.
        log_tail: Last lines of its log at the last failure.
        artifact: Content id of the image or environment its instance was made from.
        stopped: Somebody asked for it not to run.
        halting: Its present life is to be ended: what it exits with is no failure.
    """

    spec_digest: str = ""
    restarts: int = 0
    streak: int = 0
    armed: bool = False
    accounted: str = ""
    started_at: float = 0.0
    retry_at: float = 0.0
    exit_code: int | None = None
    exited_at: float = 0.0
    outcome: str = ""
    reason: str = ""
    log_tail: tuple[str, ...] = ()
    artifact: str = ""
    stopped: bool = False
    halting: bool = False


def ordered(memory: Supervision, order: api.Order, *, alive: bool) -> Supervision:
    """The memory after an order.

    What is done stays done when it is stopped; started, it runs once more.

    Args:
        memory: Before it.
        order: What was asked for.
        alive: Whether the module runs, or is held.
    """
    if order == "stop" and memory.outcome == "done" and not alive:
        return memory
    if order == "start" and alive and not memory.stopped and not memory.outcome:
        return memory
    fresh = replace(memory, outcome="", streak=0, retry_at=0.0, reason="", log_tail=())
    if order == "stop":
        return replace(fresh, stopped=True, halting=alive)
    # An end that wasn't counted yet came before the order: it must not be taken for its outcome.
    fresh = replace(fresh, armed=memory.armed and alive)
    if order == "start":
        return replace(fresh, stopped=False)
    again = not alive and memory.started_at > 0  # of one that lives, its exit is counted
    return replace(fresh, stopped=False, halting=alive, restarts=memory.restarts + again)


def account(
    module: api.ModuleSpec,
    memory: Supervision,
    exit_code: int | None,
    now: float,
    *,
    oom: str = "",
    gone: bool = False,
    patience: Patience = PATIENCE,
) -> Supervision:
    """The memory after an exit: done, failed, or to be started again after a back-off.

    Args:
        module: As it is wanted.
        memory: Before the exit.
        exit_code: None: it can't be known.
        now: Unix seconds.
        oom: It was killed for memory: what was asked and used; "": it wasn't.
        gone: There is nothing left of it: somebody else removed it.
        patience: The policy's times.
    """
    base = replace(memory, armed=False, exit_code=exit_code, exited_at=now, halting=False)
    if memory.halting or memory.stopped:
        restarts = memory.restarts + (not memory.stopped)
        return replace(base, restarts=restarts, streak=0, reason="", retry_at=0.0)
    if exit_code == 0 and module.restart != "always":
        return replace(base, outcome="done", reason="", streak=0)
    healthy = memory.started_at and now - memory.started_at >= patience.healthy_s
    streak = 1 if healthy else memory.streak + 1
    reason = "removed from outside" if gone else _exit_reason(exit_code, oom)
    if module.restart == "no":
        return replace(base, outcome="failed", reason=reason, streak=streak)
    if streak >= patience.failures and module.restart != "always":
        text = f"{reason}; gave up after {streak} failures in a row"
        return replace(base, outcome="failed", reason=text, streak=streak)
    return again(base, reason, streak, now, patience)


def hopeless(memory: Supervision, tail: tuple[str, ...]) -> Supervision:
    """The memory after an exit, once its last words are known: failed if it never began.

    A program that isn't in its image, or isn't for this machine, won't be there next time either.

    Args:
        memory: After the exit.
        tail: The last lines of the log.
    """
    never_began = memory.exit_code in _NEVER_BEGAN and tail and tail[-1].startswith(_CANNOT_RUN)
    if not never_began:
        return memory
    reason = tail[-1].partition(": ")[2]
    if memory.outcome == "failed":
        return replace(memory, reason=reason)
    return replace(memory, outcome="failed", reason=reason, restarts=memory.restarts - 1)


def again(
    memory: Supervision, reason: str, streak: int, now: float, patience: Patience = PATIENCE
) -> Supervision:
    """The memory of a module that is to be tried again after the back-off for `streak`."""
    return replace(
        memory,
        restarts=memory.restarts + 1,
        streak=streak,
        retry_at=now + patience.pause_s(streak),
        reason=reason,
        outcome="",
    )


def _exit_reason(exit_code: int | None, oom: str) -> str:
    if oom:
        return f"killed: out of memory ({oom})"
    if exit_code is None:
        return "ended, exit status unknown"
    if exit_code > 128:
        return f"killed by signal {exit_code - 128}"
    return f"exited with {exit_code}"
