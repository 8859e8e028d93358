"""Looks ten times a second whether what events wait for has become so; one task per mesh.

What has, is kept with its time, so it holds over the agent's lives; what a count has come to, too.
While the timeline doesn't play nothing is looked at. What another machine of the mesh can tell, its
agent looks at, and its word is taken. Must not know: where values come from, what an event does,
how agents talk.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Protocol

import msgspec

from net.conditions import Condition
from net.links.words import value_text
from otter_agent import api
from otter_agent.errors import AgentError
from otter_agent.links.telling import Tell
from otter_agent.timeline.judge import Judge, Memory, Value
from otter_agent.timeline.runs import Notes

LOOK_S = 0.1
KEEP_S = 1.0
"""Counts are written down so often at the most: what a crash loses of them is less than this."""
_NOTE = "conditions"
_HEARD = "heard"
SAME_RUN_S = 2.0
"""Two machines whose timelines stand further apart don't speak of one run: one was begun anew."""
LATE_S = 1.0
"""What is heard within so long happens when it is heard; else as if it had been heard at once, so
that what is over by then isn't begun."""


class Senses(Protocol):
    """Tells of the mesh: `otter_agent.senses.MeshSenses`."""

    async def look(self, conditions: Sequence[Condition]) -> list[Value]:
        """The value that each is about, now."""
        ...


class _Heard(msgspec.Struct, frozen=True):
    """A condition that became so on another machine.

    Attributes:
        fired_s: When, as that one told.
        from_s: When what waits for it begins here.
    """

    fired_s: float
    from_s: float


class Watch:
    """Of one mesh.

    Args:
        spec: Its topology.
        senses: Tells values.
        notes: Where it is kept.
        tell: Records events.
        position: Where the timeline is; None: it doesn't play.

    Attributes:
        changed: Called when an event's condition has become so.
    """

    def __init__(
        self,
        spec: api.MeshSpec,
        senses: Senses,
        notes: Notes,
        tell: Tell,
        position: Callable[[], float | None],
    ) -> None:
        self._mesh = spec.name
        self._senses = senses
        self._notes = notes
        self._tell = tell
        self._position = position
        self._events: dict[str, api.TimelineEvent] = {}
        self._judges: dict[str, Judge] = {}
        kept = notes.note(self._mesh, _NOTE)
        memories = msgspec.json.decode(kept, type=dict[str, Memory]) if kept else {}
        self._kept = _as_called_now(memories, spec)
        heard = notes.note(self._mesh, _HEARD)
        self._heard = msgspec.json.decode(heard, type=dict[str, _Heard]) if heard else {}
        self._kept_s = 0.0
        self._news = asyncio.Event()
        self.changed: Callable[[], None] = lambda: None
        self.take(spec)

    def take(self, spec: api.MeshSpec) -> None:
        """Another topology holds; events that are in both keep what became of them."""
        memory = {key: judge.memory for key, judge in self._judges.items()} or self._kept
        self._events = {e.key: e for e in spec.timeline.events if e.when is not None}
        self._judges = {
            key: Judge(event.when, memory.get(key, Memory()))
            for key, event in self._events.items()
            if event.when is not None and (not spec.away or api.sees(spec, event.when))
        }
        elsewhere = self._events.keys() - self._judges.keys()
        self._heard = {key: heard for key, heard in self._heard.items() if key in elsewhere}
        self._news.set()

    def begin_again(self) -> None:
        """Another epoch: nothing has become so yet."""
        self._kept, self._heard = {}, {}
        for judge in self._judges.values():
            judge.memory, judge.value = Memory(last=None), None
        with suppress(AgentError):
            self._keep()

    @property
    def fired(self) -> Mapping[str, float]:
        """Key of an event -> when its condition became so, last."""
        return self.news() | {key: heard.from_s for key, heard in self._heard.items()}

    def news(self) -> dict[str, float]:
        """The same of those that this machine alone can tell of."""
        return {
            key: judge.memory.fired_s
            for key, judge in self._judges.items()
            if judge.memory.fired_s is not None
        }

    def hear(self, fired: Mapping[str, float], their_position_s: float | None) -> None:
        """What another machine tells of conditions that it looks at."""
        position = self._position()
        if position is None or their_position_s is None:
            return
        if abs(position - their_position_s) > SAME_RUN_S:
            return
        fresh = {}
        for key, fired_s in fired.items():
            known, event = self._heard.get(key), self._events.get(key)
            if event is None or key in self._judges or (known and known.fired_s >= fired_s):
                continue
            fresh[key] = _Heard(fired_s, position if position - fired_s < LATE_S else fired_s)
        if fresh:
            self._heard |= fresh
            with suppress(AgentError):  # a full disk: it is told again
                self._keep()
            self.changed()

    def statuses(self) -> tuple[api.ConditionStatus, ...]:
        """What `timeline show` shows."""
        return tuple(
            api.ConditionStatus(
                event=self._events[key].text,
                when=judge.condition.text,
                value=judge.value,
                fired_s=judge.memory.fired_s,
                fired=judge.memory.fired,
            )
            for key, judge in self._judges.items()
        )

    async def run(self) -> None:
        """Look until cancelled."""
        while True:
            self._news.clear()
            open_ = [judge for judge in self._judges.values() if self._waits(judge)]
            if open_ and self._position() is not None:
                await self._look(open_)
            try:
                async with asyncio.timeout(LOOK_S if open_ else None):
                    await self._news.wait()
            except TimeoutError:
                continue

    @staticmethod
    def _waits(judge: Judge) -> bool:
        return judge.condition.again or judge.memory.fired_s is None

    async def _look(self, judges: Sequence[Judge]) -> None:
        values = await self._senses.look([judge.condition for judge in judges])
        position = self._position()
        if position is None:
            return  # it was paused, or begins again, meanwhile
        before = [judge.memory for judge in judges]
        fired = {
            id(judge)
            for judge, value in zip(judges, values, strict=True)
            if judge.sees(position, value)
        }
        changed = any(b is not judge.memory for b, judge in zip(before, judges, strict=True))
        if fired or (changed and abs(position - self._kept_s) >= KEEP_S):
            self._kept_s = position
            with suppress(AgentError):  # a full disk: it holds until the agent ends
                self._keep()
        for key, judge in self._judges.items():
            if id(judge) in fired:
                self._say(key, judge, position)
        if fired:
            self.changed()

    def _keep(self) -> None:
        kept = {key: judge.memory for key, judge in self._judges.items()}
        self._notes.put_note(self._mesh, _NOTE, msgspec.json.encode(kept))
        if self._heard or self._notes.note(self._mesh, _HEARD) is not None:
            self._notes.put_note(self._mesh, _HEARD, msgspec.json.encode(self._heard))

    def _say(self, key: str, judge: Judge, position: float) -> None:
        event, when = self._events[key], judge.condition
        value = judge.value
        shown = value if isinstance(value, str) or value is None else value_text(when.test, value)
        text = f"at {position:.3f} s: {event.text}: as {when.text}; it is {shown}"
        data = {"position_s": position, "value": value, "times": judge.memory.fired}
        self._tell("timeline", self._mesh, text, "fired", data)


def _as_called_now(kept: Mapping[str, Memory], spec: api.MeshSpec) -> dict[str, Memory]:
    """What an agent before API version 5 has kept: its keys said what events happen to as well.

    Else what has become so, and happened, would do so again after an upgrade.
    """
    former = {api.digest(api.encode(event))[:16]: event.key for event in spec.timeline.events}
    return {former.get(key, key): memory for key, memory in kept.items()}
