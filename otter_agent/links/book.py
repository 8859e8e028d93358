"""What is asked of the links of one mesh, by whom, and what is in force.

    layers    topology ─► timeline ─► shape (by hand) ─► asked, now and later
    driving   asked ─► driver ─► Outcome (read back)
    here      who changes what, until when; what is told of it

Must not know: HTTP, modules, how a driver works.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from functools import partial
from typing import NamedTuple

from net.links.changes import Change, in_force, problems
from net.links.spec import LinkSpec
from net.links.words import name_of
from net.units import format_duration
from otter_agent import api
from otter_agent.errors import AgentError, NetworkError
from otter_agent.links import clock
from otter_agent.links.base import Counters, DeviceKind, Health, Outcome
from otter_agent.links.choose import MEND, NONE, Choice
from otter_agent.links.counting import Uses
from otter_agent.links.driving import Driving
from otter_agent.links.layers import Layers
from otter_agent.links.leases import Moment, Shape
from otter_agent.links.shapes import Asked, Shapes
from otter_agent.links.telling import Keep, Layer, Tell, told
from otter_agent.links.ways import Way, ways

_LOOK_AGAIN_S = 60.0
"""Leases' ends are looked at this often at least (the loop's clock stands still in suspend), and
what is in force, where no lease is sooner."""
_OVERDUE_S = 0.5
"""After which a change that was planned is taken for lost, and asked for again."""
_PLAIN = LinkSpec()


class Planned(NamedTuple):
    """A change of the timeline to come; `at_s` is of CLOCK_MONOTONIC."""

    way: Way
    at_s: float
    change: Change


class Came(NamedTuple):
    """A planned change that has come.

    Attributes:
        number: What `LinkBook.plan` gave for it.
        at_s: When it was in force, by CLOCK_MONOTONIC.
        passed: Others of the direction before it that were over already.
        error: Why it isn't in force; "" if it is.
    """

    number: int
    at_s: float
    passed: tuple[int, ...]
    error: str


class LinkBook:
    """The links of one mesh.

    Args:
        choice: The driver.
        agent_id: Part of the namespaces' names.
        spec: What the topology asks.
        keep: Where shapes are kept.
        tell: Records events.
        now: The clocks.
    """

    def __init__(
        self,
        choice: Choice,
        agent_id: str,
        spec: api.MeshSpec,
        keep: Keep,
        tell: Tell,
        now: Callable[[], Moment] = clock.now,
    ) -> None:
        self._mesh = spec.name
        self._tell = tell
        self._layers = Layers()
        self._layers.turned = lambda: self.turned()
        self._driving = Driving(choice, agent_id, self._layers, self._mesh)
        kept = {Way(*key): data for key, data in keep.shapes(self._mesh).items()}
        self._shapes = Shapes(kept, partial(keep.put_shapes, self._mesh), now)
        self._uses = Uses()
        self._numbers = itertools.count(time.time_ns())  # another life's are others
        self._turn = asyncio.Lock()
        self._news = asyncio.Event()
        self._left = False
        self._cutting: bool | None = None
        self.remake: Callable[[], Awaitable[None]] | None = None
        self.cut: Callable[[bool], Awaitable[None]] | None = None
        self.failed: Callable[[], None] = lambda: None
        self.turned: Callable[[], None] = lambda: None
        self.take(spec)

    # --- what is asked -----------------------------------------------------------------------

    def take(self, spec: api.MeshSpec, choice: Choice | None = None) -> None:
        """Another topology holds. What was changed by hand stays, where the direction does.

        Where it needs another driver, that one has its say once the devices it needs are there.

        Args:
            spec: The topology.
            choice: The driver from now on; None: as before.
        """
        self._allow_degraded = spec.allow_degraded
        base = ways(spec)
        self._shapes.keep_only(base)
        self._layers.take(base, self._shapes.changes())
        self._driving.take(spec, choice)

    def expect(self, links: Collection[str]) -> None:
        """These will be changed: have devices for them that can be, from the next convergence."""
        self._driving.expect(links)

    @property
    def keeps_time(self) -> bool:
        """Whether the driver lets packets go at a trace's opportunities by itself."""
        driver = self._driving.choice.driver
        return driver is not None and driver.keeps_time

    def all(self) -> list[Way]:
        """All directions, in the topology's order."""
        return list(self._layers.base)

    def asked(self, way: Way) -> LinkSpec:
        """What is asked of a direction now, all layers together."""
        return self._layers.asked[way]

    def below(self, way: Way, layer: Layer) -> LinkSpec:
        """What is asked of a direction without a layer and those above it."""
        return self._layers.below(way, layer)

    def shape_of(self, way: Way) -> Shape:
        """What was changed by hand."""
        return self._shapes.of(way)

    def outcome(self, way: Way) -> Outcome:
        """What came of it, as far as is known."""
        return self._driving.outcome(way)

    # --- changing ----------------------------------------------------------------------------

    async def change(
        self,
        layer: Layer,
        changes: Mapping[Way, Change],
        *,
        instead: bool = False,
        quiet: bool = False,
    ) -> dict[Way, Outcome]:
        """Change directions in one layer, and return when that is in force.

        Args:
            layer: `timeline`; `shape` is changed by `shape`, which keeps it.
            changes: Direction -> what is changed; unknown directions are passed over.
            instead: In place of all that the layer asked of these directions before.
            quiet: No event is recorded: the caller tells of many changes at once.

        Cancellation: what is asked stays asked, and is brought into force.
        """
        layers = self._layers
        known = {w: c for w, c in changes.items() if w in layers.base}
        for way, change in known.items():
            if layer == "timeline" and layers.drop_later(way):
                layers.dirty.add(way)  # it is known to somebody else, too
            layers.change(layer, way, change if instead else layers.of(layer, way).then(change))
        await self.settle()
        outcomes = {way: self.outcome(way) for way in known}
        if not quiet:
            for way, change in known.items():
                self._tell(*told(way, layer, change, self.outcome(way)))
        return outcomes

    async def shape(self, all_asked: Sequence[Asked[Way]], by: str = "") -> list[Way]:
        """Change directions by hand, all or nothing; kept until reset, or until its time is over.

        Returns:
            The directions that were named, in the topology's order.

        Raises:
            AgentError: Something makes no sense there, or can't be done here; the disk is full.
                Nothing was changed.
        """
        shapes = self.shaped(all_asked)
        self._shapes.put(shapes)
        self._ask_by_hand(shapes)
        self._news.set()
        await self.settle()
        for asked in all_asked:
            for way in asked.of:
                event = told(
                    way, "shape", asked.change, self.outcome(way),
                    reset=asked.reset, for_s=asked.for_s, by=by,
                )  # fmt: skip
                self._tell(*event)
        return [way for way in self._layers.base if way in shapes]

    def shaped(self, all_asked: Sequence[Asked[Way]]) -> dict[Way, Shape]:
        """What directions would be changed to by hand; changes nothing. Raises as `shape`."""
        return self._shapes.asked(all_asked, self._check, "link {}".format)

    def _check(self, way: Way, so_far: Change, change: Change) -> None:
        """Raise `AgentError` if a change makes no sense, or can't be had here."""
        below = in_force(self.below(way, "shape"), so_far)
        for name, why in problems(change, below).items():
            raise AgentError("bad-request", f"link {way}: {name_of(name)} {why}")
        less_s, delay_s = self._driving.less_s(way), change.over(below).delay_s or 0.0
        if "delay_s" in change.values and delay_s < less_s:
            took = f"the network between its machines alone takes {format_duration(less_s)}"
            raise AgentError("bad-request", f"link {way}: delay: {took}")
        if not self._allow_degraded:
            for name, why in self._driving.choice.refusals(change.over(below)).items():
                text = f"link {way}: {name_of(name)}: {why}"
                raise AgentError("unsupported-link", text, hint=MEND)

    def _ask_by_hand(self, ways: Iterable[Way]) -> None:
        for way in ways:
            self._layers.change("shape", way, self._shapes.of(way).change())

    async def run(self) -> None:
        """End leases when their time has come, see that all is in force still; until cancelled."""
        while True:
            self._news.clear()
            if self._left:
                self._left = False
                await self.settle()
            await self._end_leases()
            end = self._shapes.next_end()
            wait = _LOOK_AGAIN_S if end is None else end
            try:
                async with asyncio.timeout(min(max(wait, 0.0), _LOOK_AGAIN_S)):
                    await self._news.wait()
            except TimeoutError:
                if wait >= _LOOK_AGAIN_S:
                    await self.look_again()

    async def _end_leases(self) -> None:
        ended = self._shapes.end()
        if not ended:
            return
        self._ask_by_hand(ended)
        await self.settle()
        for way, was in ended.items():
            self._tell(*told(way, "shape", was, self.outcome(way), ended=True))

    # --- what is to come ---------------------------------------------------------------------

    @property
    def era(self) -> int:
        """Another number when what `plans` says may be other than before."""
        return self._driving.era

    def plans(self, way: Way) -> bool:
        """Whether changes of a direction can be planned, or have to be made when they are due."""
        return self._driving.plans(way)

    @property
    def ready(self) -> bool:
        """Whether changes to come can be taken in at once."""
        return self._driving.ready

    def planned(self) -> set[Way]:
        """Directions of which changes are to come."""
        return set(self._layers.later)

    async def plan(self, changes: Sequence[Planned]) -> tuple[list[int], list[Came]]:
        """Have the timeline's layer changed at its time, each in place of all that it asked before.

        Args:
            changes: Of directions that can be planned, by time; none of a direction is before what
                was planned of it.

        Returns:
            A number for each; and what has come since this was last asked. What isn't told of
            didn't come: something else was asked of the timeline's layer before.
        """
        if self._layers.dirty:  # what is told now would be taken back by it
            await self.settle()
        steps = [self._layers.plan(next(self._numbers), *one) for one in changes]
        played = await asyncio.to_thread(self._driving.plan, steps)
        came = []
        for one in played:
            passed = self._layers.came(one.number)
            if not passed:
                continue
            way = passed[-1].way
            spec = self._driving.possible(way, passed[-1].spec)
            applied = spec if one.error is None else self.outcome(way).applied
            self._driving.came(way, spec, Outcome(applied=applied, error=one.error))
            if one.error is not None:
                self._layers.dirty.add(way)
            error = "" if one.error is None else str(one.error)
            numbers = tuple(step.number for step in passed[:-1])
            came.append(Came(one.number, one.at_s, numbers, error))
        self._layers.dirty.update(self._layers.overdue(time.monotonic() - _OVERDUE_S))
        if self._layers.dirty:
            await self.settle()
        return [step.number for step in steps], came

    # --- in force ----------------------------------------------------------------------------

    async def settle(self) -> None:
        """Bring what has changed into force; returns when it is, or when it is known why not.

        Cancellation: what isn't yet is left to `run`.
        """
        try:
            await self._bring_changes_into_force()
            if any(outcome.error for outcome in list(self._driving.outcomes.values())):
                self.failed()
            await self.see_to_cutting()
        except asyncio.CancelledError:
            self._left = True
            self._news.set()
            raise

    async def _bring_changes_into_force(self) -> None:
        driving, layers = self._driving, self._layers
        async with self._turn:  # at most one of the loop's threads waits for the driver
            dirty, layers.dirty = layers.dirty, set()
            if not dirty or driving.made is None:
                layers.dirty |= dirty
                return
            made = driving.made
            lacking = {way.link for way in dirty} - made
            if any(layers.asked[w].asked() for w in dirty if w.link in lacking):
                await self._remake(dirty)
                return
            ways = [way for way in dirty if way.link in made]
            loop = asyncio.get_running_loop()
            await _to_its_end(loop.run_in_executor(None, driving.drive, ways))

    @property
    def needs_cutting(self) -> bool:
        """Whether all that is sent into the mesh has to be cut into packets first."""
        driver = self._driving.choice.driver
        if driver is None or not driver.cuts_nothing:
            return False
        return any(spec.asked() for spec in self._layers.asked.values())

    async def see_to_cutting(self) -> None:
        """Tell whoever sends into the mesh, when the first link is shaped or the last no more."""
        needed = self.needs_cutting
        if needed != bool(self._cutting) and self.cut is not None:
            self._cutting = needed
            try:
                await self.cut(needed)
            except asyncio.CancelledError:
                self._cutting = not needed
                raise

    async def _remake(self, dirty: Collection[Way]) -> None:
        """Have the devices that links need; what is asked of all comes into force with that."""
        assert self.remake is not None
        try:
            await self.remake()
        except NetworkError as error:
            for way in dirty:
                failed = Outcome(applied=self.outcome(way).applied, error=error)
                self._driving.outcomes[way] = failed
        except asyncio.CancelledError:  # perhaps before a thread had begun
            self._layers.dirty.update(dirty)
            raise

    def close(self) -> None:
        """The mesh is to go: no device is made any more."""
        self._driving.close()

    def bring_into_force(self) -> None:
        """Ask the driver for all that is asked; blocking. Raises `NetworkError`: the first."""
        self._driving.bring_into_force()

    async def look_again(self) -> None:
        """Read back what is in force; what somebody took away is asked for again."""
        await asyncio.to_thread(self._driving.look)
        self.looked()

    def looked(self) -> None:
        """What was read back has come: what was lost is asked for again."""
        lost = self._driving.lost()
        if lost:
            text = "nothing is in force any more: made anew"
            self._tell("link", str(lost[0]) if len(lost) == 1 else self._mesh, text, "failed")
            self.failed()

    def look(self) -> None:
        """Read back what is in force; blocking."""
        self._driving.look()

    def count(self) -> dict[Way, Counters]:
        """What passed so far and what was dropped, where the driver can tell; blocking."""
        return self._uses.told(self._driving.count, self._layers.asked, time.monotonic)

    def health(self) -> Health | None:
        """How well they are carried; None: by nothing that could be late. Blocking."""
        return self._driving.health()

    # --- for the network (network/scarcity.py), from its thread ------------------------------

    def kinds(self) -> Mapping[str, DeviceKind]:
        """Link -> what its devices have to be."""
        return self._driving.kinds()

    def let_go(self, *, shaped_only: bool) -> None:
        """Hold on to no devices but those of links that are wanted: others are about to go."""
        self._driving.let_go(shaped_only=shaped_only)

    def devices_are_there(self) -> None:
        """All devices are there and up: make them what is asked."""
        self._driving.devices_are_there()

    # --- telling -----------------------------------------------------------------------------

    @property
    def choice(self) -> Choice:
        """The driver, and why it is this one."""
        return self._driving.choice

    def statuses(self) -> tuple[api.LinkStatus, ...]:
        """What `status` shows."""
        return tuple(map(self.status, self._layers.base))

    def status(self, way: Way) -> api.LinkStatus:
        """Of one direction."""
        made, choice = self._driving.made, self._driving.choice
        asked, outcome = self._layers.asked[way], self.outcome(way)
        applied = outcome.applied
        driven = made is not None and way.link in made
        if applied is None and made is not None and not driven and outcome.error is None:
            applied = _PLAIN
        kind = choice.driver.device_kind if choice.driver else "veth"
        by_driver = driven and (kind != "veth" or bool(asked.asked()))
        return api.LinkStatus(
            name=way.link,
            from_=way.source,
            to=way.target,
            driver=choice.name if by_driver else NONE,
            asked=asked.asked(),
            applied=None if applied is None else applied.asked(),
            layers=self._layers.told(way),
            reverts_in_s=self._shapes.reverts_in_s(way),
            lacks=choice.refusals(asked),
            error="" if outcome.error is None else str(outcome.error),
        )


async def _to_its_end(work: asyncio.Future[None]) -> None:
    """Wait for it also when the caller goes away: a thread that hasn't begun would be forgotten."""
    try:
        await asyncio.shield(work)
    except asyncio.CancelledError:
        await asyncio.wait([work])
        raise
