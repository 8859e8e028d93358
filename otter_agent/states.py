"""The states that users see of modules and meshes. Pure."""

from __future__ import annotations

from otter_agent import api
from otter_agent.reconcile import Seen
from otter_agent.runtimes.base import Phase
from otter_agent.supervision import Supervision

FINAL = frozenset({"ready", "done", "failed", "stopped"})
"""A module in one of these stays so until something happens to it."""


def module_state(digest: str, seen: Seen, memory: Supervision) -> tuple[api.ModuleState, str]:
    """The state that users see of a module, and why it isn't ready (one line, or "").

    Args:
        digest: Of the module as it is wanted.
        seen: What is seen of it.
        memory: What is remembered of it.
    """
    instance = seen.instance
    current = instance is not None and instance.spec_digest == digest
    mine = memory.spec_digest == digest
    if mine and (memory.stopped or memory.halting):
        return _halted(seen, memory)
    if seen.artifact_error:
        return "failed", seen.artifact_error
    if mine and memory.outcome == "done":
        return "done", ""
    if mine and memory.outcome == "failed":
        return "failed", memory.reason
    if seen.runtime_problem:
        return "pending", seen.runtime_problem
    begun: tuple[api.ModuleState, str] = ("ready" if seen.ready else "running", "")
    if instance is not None and current and instance.phase is Phase.RUNNING:
        return begun
    if memory.streak or memory.restarts:
        return "restarting", memory.reason
    if instance is not None and current and instance.phase is Phase.EXITED:
        return begun  # until it is decided what comes of its end: done, failed, anew
    if instance is not None and current:
        return "starting", "waits for its network"
    return "pending", "" if seen.artifact else "waits for its image"


def _halted(seen: Seen, memory: Supervision) -> tuple[api.ModuleState, str]:
    alive = seen.instance is not None and seen.instance.phase in (Phase.HELD, Phase.RUNNING)
    if not memory.stopped:
        return "restarting", "was asked to restart"
    return ("running", "is being stopped") if alive else ("stopped", "")


def waits_for(ready: api.Ready) -> str:
    """What a running module has to do to be ready, for people."""
    if ready.tcp is not None:
        return f"TCP port {ready.tcp} to accept connections"
    if ready.command is not None:
        return f"`{' '.join(ready.command)}` to exit with 0"
    return "`await mesh.ready()`" if ready.sdk else "its first moment to pass"


def mesh_state(states: list[api.ModuleState], *, converged: bool) -> api.MeshState:
    """The state of a mesh from those of its modules."""
    if "failed" in states:
        return "degraded"
    if converged and all(s in ("ready", "done", "stopped") for s in states):
        return "ready"
    return "converging"
