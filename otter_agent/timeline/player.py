"""Plays the timeline of one mesh: what is due is asked of its links, and what came of it noted.

What holds follows from the position alone, so after whatever interruption the state of now is
asked for, and it goes on from there. Links that can are told some time ahead (ahead.py); of all
else what is due within a few milliseconds is asked for together. Must not know: HTTP, how links are
made scarce.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from typing import Any

from net.links.changes import Change
from net.links.timeline import Course, Due, Timeline, Walk
from net.links.traces.trace import Trace
from otter_agent import api
from otter_agent.budgets.subjects import Subject
from otter_agent.errors import AgentError, explained
from otter_agent.links.ways import Way
from otter_agent.timeline import moves
from otter_agent.timeline.ahead import Ahead, Made
from otter_agent.timeline.around import Around
from otter_agent.timeline.compile import Compiled, Key, compile_spec
from otter_agent.timeline.happenings import Happening, Happenings
from otter_agent.timeline.kept import Kept, decode, encode
from otter_agent.timeline.record import Record
from otter_agent.timeline.strikes import Strikes

TICK_S = 0.0025
"""Between two times that it looks what is due: with it nothing is later than 5 ms, and a thousand
changes a second are 400 calls of the driver."""
AT_ONCE = 1000
"""Directions changed by one call; then others of the agent's tasks have their turn."""
_AFTER_FAILURE_S = 1.0
_BREAK = 3
"""So many times as long as it took to find out what is due, others have their turn."""
_TOLD_S = 0.05
"""Between two looks at what events have begun, where links are told ahead: it has come by then."""
_LOOK_AGAIN_S = 60.0
"""The loop's clock stands still in suspend."""
_NOTHING = Change()


class Player:
    """Plays.

    Args:
        spec: Of the mesh.
        around: What it works with.

    Attributes:
        places: Host -> the link over which its ways lead since it moved to another cell.
        reroute: Called when that has changed, with the hosts whose routes are others now.
        fired: Gives the events whose conditions have become so, by key, and when.
        conditions: Tells of what events wait for.
        began_again: Called when there is another epoch.
    """

    def __init__(self, spec: api.MeshSpec, around: Around) -> None:
        self._around = around
        self._spec = spec
        self._mesh = spec.name
        now = around.now()
        self._kept = decode(around.keep.timeline(self._mesh)).anchored(now)
        self._traces: dict[str, Trace] = {}
        self._compiled: Compiled | None = None
        self._compiled_of: api.MeshSpec | None = None
        self._stale = False
        self._held: dict[Key, Change] = {}
        self._walk: Walk[Key] = Walk(Timeline({}), 0.0)
        self._ahead = Ahead(around.links)
        self._anew = False
        self._pause_s = 0.0
        self._moves_s = math.inf
        self._looked_s = -math.inf
        self._happenings = Happenings((), 0.0)
        self._strikes = Strikes((), 0.0)
        self._told_to: float | None = None
        self._news = asyncio.Event()
        self._said = ""
        self.places: dict[str, str] = {}
        self.reroute: Callable[[Collection[str]], Awaitable[None]] | None = None
        self.fired: Callable[[], Mapping[str, float]] = dict
        self.conditions: Callable[[], tuple[api.ConditionStatus, ...]] = tuple
        self.began_again: Callable[[], None] = lambda: None
        self.record = Record(around.file)
        around.links.expect(spec.timeline.links())

    # --- what others tell it -----------------------------------------------------------------

    def take(self, spec: api.MeshSpec) -> None:
        """Another topology holds; the epoch stays."""
        if spec is self._spec:
            return
        self._spec = spec
        self._around.links.expect(spec.timeline.links())
        self._news.set()

    def look_again(self) -> None:
        """What an event waited for has become so."""
        self._stale = True
        self._news.set()

    def position(self) -> float | None:
        """Seconds since the epoch while it plays."""
        return self._moment() if self._kept.state == "running" and self.begun else None

    @property
    def begun(self) -> bool:
        """Whether its epoch has come."""
        return self._kept.holds(self._around.now())

    @property
    def state(self) -> api.TimelineState:
        """Where it stands."""
        return self._kept.state

    @property
    def waits(self) -> bool:
        """Whether it waits for all modules to be ready."""
        return self._kept.state == "waiting"

    def all_ready(self) -> None:
        """All modules are ready: that is the epoch, or in a moment, if there was none yet."""
        if self.waits:
            epoch = self._around.now().after(self._lead_s())
            self._become(self._kept.all_ready(epoch), "all modules are ready")

    def _lead_s(self) -> float:
        """How long before its epoch links have to be told: what is due then would be late."""
        if self._compiled is None:
            return 0.0
        keys = [key for key, _ in self._compiled.timeline.items()]
        return self._ahead.lead_s(key for key in keys if isinstance(key, Way))

    def order(self, order: api.TimelineOrder, by: str = "", at: float | None = None) -> None:
        """Start, pause or reset it.

        Args:
            order: What to do.
            by: Who asks.
            at: Of `start`: the moment (seconds since 1970), past or to come; None: as soon as all
                is in time from there on.

        Raises:
            AgentError: The disk is full: nothing was changed.
        """
        now = self._around.now()
        if order == "start":
            now = now.after(self._lead_s() if at is None else at - now.wall_s)
        after = self._kept.ordered(order, now)
        if after != self._kept:
            self._become(after, f"{order} was asked for" + (f" by {by}" if by else ""), must=True)

    def _become(self, after: Kept, why: str, *, must: bool = False) -> None:
        before, position = self._kept, after.position(self._around.now())
        try:
            self._around.keep.put_timeline(self._mesh, encode(after))
        except AgentError:  # a full disk
            if must:
                raise
        self._kept = after
        if before.state in ("waiting", "held") or after.state == "held":
            self.record.reset()
            self._anew = True
            self._told_to = -1.0
        if after.state == "held":
            self.began_again()
            self.look_again()
        self._news.set()
        if not must and not (self._spec.timeline.traces or self._spec.timeline.events):
            return  # nobody waits for the epoch of a mesh in which nothing changes
        data = {"position_s": position}
        text = f"at {position:.3f} s: {why}"
        self._around.tell("timeline", self._mesh, text, after.state, data)

    # --- playing -----------------------------------------------------------------------------

    async def begin(self) -> None:
        """Ask for what holds now, before anything else is made of the links."""
        try:
            await self._catch_up()
        except Exception as error:  # noqa: BLE001 - a spec must not end the agent, again and again
            self._failed(error)
        if self._kept.state == "running" and self._compiled and self._compiled.timeline:
            position = self._kept.position(self._around.now())
            text = f"goes on at {position:.3f} s: the agent has started"
            self._around.tell("timeline", self._mesh, text, "running", {"position_s": position})

    async def run(self) -> None:
        """Play until cancelled."""
        try:
            while True:
                try:
                    await self._play()
                except Exception as error:  # noqa: BLE001 - as above
                    self._failed(error)
                    await asyncio.sleep(_AFTER_FAILURE_S)
        finally:
            self.record.write()

    async def _play(self) -> None:
        """Until there is news."""
        self._news.clear()
        await self._catch_up()
        while not self._news.is_set():
            await self._rest()
            if not self._news.is_set():
                await self._step()

    def _failed(self, error: Exception) -> None:
        text = str(explained(error))
        if text != self._said:
            self._around.tell("timeline", self._mesh, text, "failed")
        self._said = text

    async def _catch_up(self) -> None:
        """Bring everything to where the timeline stands, whatever it was before."""
        compiled = await self._compile()
        came = await self._ahead.came()
        self._note(came, counted=not self._anew)
        self._anew = False
        planned = self._around.links.planned()
        self._ahead.sets_out(self._reached)
        kept, now = self._kept, self._around.now()
        position, holds = kept.position(now), kept.holds(now)
        since, lead = position if holds else None, max(0.0, position - kept.reached(now))
        timeline = self._clocked(compiled.timeline)
        told_ahead = self._told_ahead(timeline)
        others: Timeline[Key] = Timeline({k: c for k, c in timeline.items() if k not in told_ahead})

        def prepare() -> tuple[dict[Key, Change], Walk[Key]]:
            self._ahead.begin(told_ahead, since, lead)
            return timeline.state(position) if holds else {}, Walk(others, since)

        # For thousands of directions that takes a while; the loop has others to serve.
        state, walk = await asyncio.to_thread(prepare) if timeline else prepare()
        left: set[Key] = set(self._around.workers.differing(state))  # what was over meanwhile, too
        # Before its epoch nothing is held, and all that links were told ahead is to be taken back.
        wanted = {**dict.fromkeys((*self._held, *planned, *left), _NOTHING), **state}
        changes = {
            key: change
            for key, change in wanted.items()
            if change != self._held.get(key, _NOTHING) or key in planned or key in left
        }
        self._held = state
        self._walk = walk
        # What begins at 0 begins with the epoch; what has begun before the agent did isn't told.
        from_s = position if holds else -1.0
        told_to = from_s if self._told_to is None else self._told_to
        self._happenings = Happenings(compiled.events, told_to)
        self._strikes = Strikes(compiled.events, told_to)
        if kept.begun:
            self._told_to = told_to
        await self._ask([Due(w, position, c) for w, c in changes.items()])
        self._ahead.forget()
        await self._move()

    def _told_ahead(self, timeline: Timeline[Key]) -> dict[Way, Course]:
        """The directions whose changes are planned, where it plays."""
        if self._kept.state != "running":
            return {}
        follows = self._spec.routing == "shortest"  # routes have to be told of it when it is so
        return {
            key: course
            for key, course in timeline.items()
            if isinstance(key, Way) and self._ahead.plans(key) and not (follows and course.turns)
        }

    def _clocked(self, timeline: Timeline[Key]) -> Timeline[Key]:
        """As the links' driver takes it; while it stands still, there are no opportunities."""
        zero = self._kept.zero
        if zero is None or not self._around.links.keeps_time:
            return timeline
        return timeline.clocked(zero.boot_s)

    def _reached(self) -> float:
        return self._kept.reached(self._around.now())

    def _moment(self) -> float:
        """Where it stands; negative before its epoch."""
        kept, now = self._kept, self._around.now()
        return kept.position(now) if kept.holds(now) else kept.reached(now)

    async def _compile(self) -> Compiled:
        spec = self._spec
        if self._compiled is not None and self._compiled_of is spec and not self._stale:
            return self._compiled
        self._stale = False  # what becomes so from here on is for the next time
        asked = spec, self._around.read, self._traces, self.fired()
        if spec.timeline.traces or spec.timeline.events:
            compiled = await asyncio.to_thread(compile_spec, *asked)
        else:
            compiled = Compiled(Timeline({}))
        if compiled.problem:
            self._around.tell("timeline", self._mesh, compiled.problem, "failed")
        self._compiled, self._compiled_of = compiled, spec
        return compiled

    async def _rest(self) -> None:
        """Until something is due, or there is news."""
        wait = math.inf
        if self._kept.state == "running":
            wait = max(TICK_S, self._pause_s, self._next_s() - self._reached())
        if wait > 1.0 and self.record.gathered:
            await asyncio.to_thread(self.record.write)
        try:
            async with asyncio.timeout(min(wait, _LOOK_AGAIN_S)):
                await self._news.wait()
        except TimeoutError:
            return

    def _next_s(self) -> float:
        told_s = self._happenings.next_s
        if self._ahead.next_s < math.inf:
            told_s = max(told_s + TICK_S, self._looked_s + _TOLD_S)
        ahead_s = min(self._ahead.next_s, self._moves_s)
        return min(self._walk.next_s, self._strikes.next_s, ahead_s, told_s)

    async def _step(self) -> None:
        """Do what is due."""
        if self._kept.state != "running":
            return
        if self._ahead.is_off(self._reached):
            self._news.set()
            return
        position, begun = self._reached(), time.perf_counter()
        due = self._walk.to(position, AT_ONCE)
        self._pause_s = (time.perf_counter() - begun) * _BREAK
        for one in due:
            self._held[one.key] = one.change
        failed = await self._ask(due)
        happens = position >= self._happenings.next_s
        if happens or position >= self._ahead.next_s:
            self._looked_s = position
            failed = self._note(await self._ahead.go(position)) or failed
        await self._move()
        struck = await self._strike(position)
        if happens:
            self._told_to = position
            self._tell_of(self._happenings.to(position), failed, struck)
        if self.record.full:
            await asyncio.to_thread(self.record.write)

    async def _strike(self, position: float) -> dict[int, str]:
        """Restart and kill what is due to be; why that can't be, by the event's number."""
        failed = {}
        for strike in self._strikes.to(position):
            event = self._spec.timeline.events[strike.number]
            failed[strike.number] = await self._around.workers.strike(event.action, event.modules)
        return failed

    def _tell_of(
        self, happened: Iterable[Happening], failed: str, struck: Mapping[int, str]
    ) -> None:
        for happening in happened:
            error = failed or struck.get(happening.number, "")
            state = "failed" if error else happening.kind
            data = {"layer": "timeline", "at_s": happening.at_s}
            text = f"timeline: {happening.text}" + (f"; failed: {error}" if error else "")
            event = self._spec.timeline.events[happening.number]
            if not event.targets:
                continue  # it was looked at here, and happens elsewhere
            kind = "host" if event.hosts else "module" if event.modules else "link"
            self._around.tell(kind, happening.subject, text, state, data)

    def _note(self, made: Sequence[Made], *, counted: bool = True) -> str:
        """What links were told ahead has come; the first that went wrong."""
        for one in made:
            self._held[one.due.key] = one.due.change
        if made and counted and self._kept.begun:
            now = self._around.now()
            told = [_told(one.due, None if one.error else one.applied_s, one.error) for one in made]
            epoch = now.wall_s - self._kept.reached(now)
            self.record.add(epoch, told, sum(one.passed for one in made))
        return next((one.error for one in made if one.error), "")

    async def _move(self) -> None:
        """Have ways lead where hosts are now."""
        moment = self._moment()
        self._moves_s = moves.next_s(self._spec, moment)  # the links may be elsewhere
        now = moves.places(self._spec, moment) if self._kept.begun else {}
        if now != self.places:
            hosts = moves.rerouted(self._spec, self.places, now)
            self.places = now
            if self.reroute is not None:
                await self.reroute(hosts)

    async def _ask(self, due: Collection[Due[Key]]) -> str:
        """Ask the links; returns the first that went wrong."""
        if not due:
            return ""
        failed = await self._change({one.key: one.change for one in due})
        now = self._around.now()
        position, epoch = self._kept.position(now), now.wall_s - self._kept.reached(now)
        made = []
        for one in due:
            error = failed.get(one.key, "")
            made.append(_told(one, None if error else position, error))
        if self.begun:
            self.record.add(epoch, made, sum(one.passed for one in due))
        return next((change.error for change in made if change.error), "")

    async def _change(self, changes: Mapping[Key, Change]) -> dict[Key, str]:
        """Make it so; why it isn't, where it isn't."""
        failed: dict[Key, str] = {}
        links = {key: change for key, change in changes.items() if isinstance(key, Way)}
        if links:
            done = await self._around.links.change("timeline", links, instead=True, quiet=True)
            failed |= {way: str(outcome.error) for way, outcome in done.items() if outcome.error}
        budgets = {key: change for key, change in changes.items() if isinstance(key, Subject)}
        if budgets:
            for subject, error in (await self._around.workers.change(budgets)).items():
                failed[subject] = error
        return failed

    # --- telling -----------------------------------------------------------------------------

    async def upcoming(self, most: int) -> tuple[api.TimelineChange, ...]:
        """The changes to come."""
        compiled, kept = self._compiled, self._kept
        if compiled is None or not most:
            return ()
        since = kept.position(self._around.now()) if self.begun else None
        timeline = self._clocked(compiled.timeline)
        return tuple(map(_told, await asyncio.to_thread(timeline.upcoming, since, most)))

    def status(
        self, last: int = 0, upcoming: tuple[api.TimelineChange, ...] = ()
    ) -> api.TimelineStatus:
        """Where it stands, with the last changes; `upcoming`: those to come."""
        now, kept = self._around.now(), self._kept
        position = kept.position(now)
        spec = self._spec.timeline
        return api.TimelineStatus(
            mesh=self._mesh,
            state=kept.state,
            position_s=position,
            epoch=now.wall_s - kept.reached(now) if kept.begun else None,
            lead_s=0.0 if kept.begun else self._lead_s(),
            traces=len(spec.traces),
            events=len(spec.events),
            lateness=self.record.lateness(),
            last=tuple(self.record.last)[-last:] if last else (),
            next=upcoming,
            conditions=self.conditions(),
            problem=self._compiled.problem if self._compiled else "",
        )


def _told(due: Due[Any], applied_s: float | None = None, error: str = "") -> api.TimelineChange:
    values = due.change.values
    change = due.change.asked() if None in values.values() else dict(values)
    if isinstance(due.key, Subject):
        return api.TimelineChange(
            at_s=due.at_s,
            host=due.key.name if due.key.kind == "host" else "",
            module=due.key.name if due.key.kind == "module" else "",
            change=change,
            applied_s=applied_s,
            error=error,
        )
    return api.TimelineChange(
        at_s=due.at_s,
        link=due.key.link,
        source=due.key.source,
        target=due.key.target,
        change=change,
        applied_s=applied_s,
        error=error,
    )
