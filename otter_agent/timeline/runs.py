"""Modules that a timeline stops, starts, pauses, restarts and kills.

What it asks of each is compared with what it asked last, which is kept: an agent that starts again
orders what has changed meanwhile, and nothing twice. In between everybody may order something else.

    nothing ──stop──► stopped ──over──► as it was before: running, or stopped by somebody else
            ──pause─► paused  ──over──► goes on

Must not know: when, how a module is stopped or paused.
"""

from __future__ import annotations

import signal
from collections.abc import Mapping
from typing import Any, Protocol

import msgspec

from net.links.changes import Change
from net.links.limits import Run
from otter_agent import api
from otter_agent.budgets.subjects import Subject
from otter_agent.errors import AgentError

BY = "the timeline"
_NOTE = "runs"
_NOTHING = Change()


class Modules(Protocol):
    """Of the mesh: `otter_agent.keeper.MeshKeeper`."""

    def order(self, module: str, order: api.Order, by: str) -> None:
        """Start, stop or restart it. Raises `AgentError` on a full disk."""
        ...

    def is_stopped(self, module: str) -> bool:
        """Whether somebody has asked for it not to run."""
        ...

    def pid(self, module: str) -> int | None:
        """Of its first process; None: it doesn't run."""
        ...

    async def signal(self, module: str, number: int) -> str:
        """Send a signal to all its processes; why that can't be, or ""."""
        ...


class Notes(Protocol):
    """Where it is kept across the agent's lives."""

    def note(self, mesh: str, name: str) -> bytes | None:
        """What was kept under a name."""
        ...

    def put_note(self, mesh: str, name: str, body: bytes) -> None:
        """Keep it. Raises `AgentError` on a full disk."""
        ...


class _Held(msgspec.Struct, frozen=True):
    """What the timeline asked of a module last.

    Attributes:
        run: None: it was about to ask for something, or for nothing any more.
        stopped: Whether it was stopped, by whomever, before.
        pid: That was paused.
    """

    run: Run | None
    stopped: bool = False
    pid: int | None = None


class Runs:
    """Of one mesh.

    Args:
        mesh: Its name.
        notes: Where it is kept.

    Attributes:
        modules: Does it; None: nothing can be done yet.
    """

    def __init__(self, mesh: str, notes: Notes) -> None:
        self._mesh = mesh
        self._notes = notes
        self.modules: Modules | None = None
        kept = notes.note(mesh, _NOTE)
        self._held = msgspec.json.decode(kept, type=dict[str, _Held]) if kept else {}

    def is_paused(self, module: str, pid: int | None) -> bool:
        """Whether what runs of it now is held up."""
        held = self._held.get(module)
        return held is not None and held.run == "paused" and held.pid == pid is not None

    def paused(self) -> list[str]:
        """All modules that are."""
        modules = self.modules
        if modules is None:
            return []
        return [name for name in self._held if self.is_paused(name, modules.pid(name))]

    def forget(self, known: Mapping[str, object]) -> None:
        """Modules that aren't there any more."""
        self._held = {name: held for name, held in self._held.items() if name in known}

    def differing(self, wanted: Mapping[Any, Change]) -> set[Subject]:
        """Modules of which something else was asked last: perhaps by an agent before this one."""
        return {
            subject
            for subject, held in ((Subject("module", n), h) for n, h in self._held.items())
            if held.run is None or wanted.get(subject, _NOTHING).values.get("run") != held.run
        }

    async def change(self, changes: Mapping[Subject, Change]) -> dict[Subject, str]:
        """What the timeline asks now; returns why it can't be, of those of which it can't."""
        failed = {}
        before = dict(self._held)
        for subject, change in changes.items():
            if subject.kind != "module" or self.modules is None:
                continue
            run: Run | None = change.values.get("run")  # type: ignore[assignment]  # of these
            held = self._held.get(subject.name)
            if run == (held.run if held else None) and not (held and held.run is None):
                continue
            try:
                if held is None:  # known before it is done: who was stopped by this is no other's
                    held = _Held(None, self.modules.is_stopped(subject.name))
                    self._keep({**self._held, subject.name: held})
                if error := await self._turn(subject.name, run, held, self.modules):
                    failed[subject] = error
            except AgentError as error:
                failed[subject] = str(error)
        if before != self._held:
            try:
                self._keep(self._held)
            except AgentError as error:
                failed |= {s: str(error) for s in changes if s not in failed}
        return failed

    def _keep(self, held: Mapping[str, _Held]) -> None:
        self._notes.put_note(self._mesh, _NOTE, msgspec.json.encode(held))

    async def _turn(self, name: str, run: Run | None, held: _Held, modules: Modules) -> str:
        stopped = held.stopped
        error = ""
        if held.run == "paused" and self.is_paused(name, modules.pid(name)):
            error = await modules.signal(name, signal.SIGCONT)
        if run is None:
            self._held.pop(name, None)
            self._order(name, "stop" if stopped else "start", modules)
        elif run == "stopped":
            self._order(name, "stop", modules)
            self._held[name] = _Held(run, stopped)
        elif run == "running":
            modules.order(name, "start", BY)  # also what is done, or has failed
            self._held[name] = _Held(run, stopped)
        else:
            self._order(name, "start", modules)
            pid = modules.pid(name)
            error = await modules.signal(name, signal.SIGSTOP)
            self._held[name] = _Held(run, stopped, None if error else pid)
        return error

    def _order(self, name: str, order: api.Order, modules: Modules) -> None:
        """Only what makes a difference: what is done by itself isn't started again."""
        if (order == "stop") != modules.is_stopped(name):
            modules.order(name, order, BY)

    async def strike(self, action: str, module: str) -> str:
        """Restart or kill it; why that can't be, or ""."""
        if self.modules is None:
            return ""
        if action == "kill":
            return await self.modules.signal(module, signal.SIGKILL)
        try:
            self.modules.order(module, "restart", BY)
        except AgentError as error:
            return str(error)
        return ""
