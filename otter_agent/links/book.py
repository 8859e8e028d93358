"""What is asked of the links of one mesh, by whom, and what is in force: three layers and a driver.

    topology ─► timeline ─► shape (by hand) ─► asked ─► driver ─► Outcome (read back)

The layers are changed on the event loop, the driver is called in threads; what it is told is read
at that moment under one lock, so that whichever call comes last brings the newest of all that was
asked. Must not know: HTTP, modules, how a driver works.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

from net.errors import OtterError
from net.links.changes import Change, in_force, problems
from net.links.spec import LinkSpec
from net.links.words import name_of
from otter_agent import api
from otter_agent.errors import AgentError, NetworkError
from otter_agent.links import clock, leases
from otter_agent.links.asking import Asked
from otter_agent.links.base import Counters, DeviceKind, Direction, Health, LinkDriver, Outcome
from otter_agent.links.choose import MEND, NONE, Choice
from otter_agent.links.leases import Moment, Shape
from otter_agent.links.telling import (
    LAYERS,
    Keep,
    Layer,
    Tell,
    as_network_error,
    is_lost,
    told,
)
from otter_agent.links.ways import Way, direction, ways

_LOOK_AGAIN_S = 60.0
"""Leases' ends are looked at this often at least (the loop's clock stands still in suspend), and
what is in force, where no lease is sooner."""
_NOTHING = Change()
_PLAIN = LinkSpec()


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
        self._choice = choice
        self._agent_id = agent_id
        self._mesh = spec.name
        self._keep = keep
        self._tell = tell
        self._now = now
        self._base: dict[Way, LinkSpec] = {}
        self._layers: dict[Layer, dict[Way, Change]] = {"timeline": {}, "shape": {}}
        self._shapes = {Way(*k): leases.decode(v) for k, v in keep.shapes(self._mesh).items()}
        self._asked: dict[Way, LinkSpec] = {}
        self._directions: dict[Way, Direction] = {}
        self._outcomes: dict[Way, Outcome] = {}
        self._expected: frozenset[str] = frozenset()
        self._making: frozenset[str] = frozenset()
        self._made: frozenset[str] | None = None
        self._closed = False
        self._former: LinkDriver | None = None
        self._dirty: set[Way] = set()
        self._driving = threading.Lock()
        self._turn = asyncio.Lock()
        self._news = asyncio.Event()
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
        if choice is not None and choice.driver is not self._choice.driver:
            self._former, self._choice = self._choice.driver, choice
            self._made, self._outcomes = None, {}
        self._allow_degraded = spec.allow_degraded
        self._base = ways(spec)
        gone = self._shapes.keys() - self._base.keys()
        with suppress(AgentError):  # a full disk: nobody asks for them any more
            self._keep.put_shapes(self._mesh, dict.fromkeys(gone))
        self._shapes = {w: s for w, s in self._shapes.items() if w in self._base}
        for layer in LAYERS:
            self._layers[layer] = {w: c for w, c in self._layers[layer].items() if w in self._base}
        now = self._now()
        self._layers["shape"] = {w: s.at(now).change() for w, s in self._shapes.items()}
        self._directions = {w: direction(self._agent_id, spec, w) for w in self._base}
        self._outcomes = {w: o for w, o in self._outcomes.items() if w in self._base}
        self._asked = {way: self._merged(way) for way in self._base}
        self._dirty = set(self._base)

    def expect(self, links: Collection[str]) -> None:
        """These will be changed: have devices for them that can be, from the next convergence."""
        self._expected = frozenset(links)

    @property
    def keeps_time(self) -> bool:
        """Whether the driver lets packets go at a trace's opportunities by itself."""
        return self._choice.driver is not None and self._choice.driver.keeps_time

    def all(self) -> list[Way]:
        """All directions, in the topology's order."""
        return list(self._base)

    def asked(self, way: Way) -> LinkSpec:
        """What is asked of a direction now, all layers together."""
        return self._asked[way]

    def below(self, way: Way, layer: Layer) -> LinkSpec:
        """What is asked of a direction without a layer and those above it."""
        under = LAYERS[: LAYERS.index(layer)]
        return in_force(self._base[way], *(self._layers[x].get(way, _NOTHING) for x in under))

    def shape_of(self, way: Way) -> Shape:
        """What was changed by hand."""
        return self._shapes.get(way, Shape())

    def outcome(self, way: Way) -> Outcome:
        """What came of it, as far as is known."""
        return self._outcomes.get(way, Outcome(applied=None))

    def _merged(self, way: Way) -> LinkSpec:
        changes = (self._layers[layer].get(way, _NOTHING) for layer in LAYERS)
        return in_force(self._base[way], *changes)

    def _possible(self, spec: LinkSpec) -> LinkSpec:
        """Without what the driver can't do; that much is told in `status`."""
        refused = self._choice.refusals(spec)
        return replace(spec, **dict.fromkeys(refused)) if refused else spec

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
        held = self._layers[layer]
        known = {w: c for w, c in changes.items() if w in self._base}
        for way, change in known.items():
            held[way] = change if instead else held.get(way, _NOTHING).then(change)
            self._recompute(way)
        await self.settle()
        outcomes = {way: self.outcome(way) for way in known}
        if not quiet:
            for way, change in known.items():
                self._tell(*told(way, layer, change, self.outcome(way)))
        return outcomes

    async def shape(self, all_asked: Sequence[Asked], by: str = "") -> list[Way]:
        """Change directions by hand, all or nothing; kept until reset, or until its time is over.

        Returns:
            The directions that were named, in the topology's order.

        Raises:
            AgentError: Something makes no sense there, or can't be done here; the disk is full.
                Nothing was changed.
        """
        now = self._now()
        shapes: dict[Way, Shape] = {}
        for asked in all_asked:
            end = None if asked.for_s is None else now.after(asked.for_s)
            for way in asked.ways:
                before = Shape() if asked.reset else shapes.get(way, self.shape_of(way))
                self._check(way, before.at(now).change(), asked.change)
                shapes[way] = before.asked(asked.change, end, now)
                if len(shapes[way].leases) > leases.MOST:
                    text = f"link {way}: {leases.MOST} changes wait for their end already"
                    raise AgentError("bad-request", text, hint="otterctl shape reset undoes them")
        self._take_shapes(shapes, now)
        self._news.set()
        await self.settle()
        for asked in all_asked:
            for way in asked.ways:
                event = told(
                    way, "shape", asked.change, self.outcome(way),
                    reset=asked.reset, for_s=asked.for_s, by=by,
                )  # fmt: skip
                self._tell(*event)
        return [way for way in self._base if way in shapes]

    def _check(self, way: Way, so_far: Change, change: Change) -> None:
        """Raise `AgentError` if a change makes no sense, or can't be had here."""
        below = in_force(self.below(way, "shape"), so_far)
        for name, why in problems(change, below).items():
            raise AgentError("bad-request", f"link {way}: {name_of(name)} {why}")
        if not self._allow_degraded:
            for name, why in self._choice.refusals(change.over(below)).items():
                text = f"link {way}: {name_of(name)}: {why}"
                raise AgentError("unsupported-link", text, hint=MEND)

    def _take_shapes(self, shapes: Mapping[Way, Shape], now: Moment) -> None:
        kept: dict[tuple[str, str, str], bytes | None] = {
            way: leases.encode(shape) if shape else None for way, shape in shapes.items()
        }
        self._keep.put_shapes(self._mesh, kept)
        for way, shape in shapes.items():
            if shape:
                self._shapes[way] = shape
            else:
                self._shapes.pop(way, None)
            self._layers["shape"][way] = shape.at(now).change()
            self._recompute(way)

    def _recompute(self, way: Way) -> None:
        if (asked := self._merged(way)) != self._asked[way]:
            if (asked.up is False) != (self._asked[way].up is False):
                self.turned()
            self._asked[way] = asked
            self._dirty.add(way)

    async def run(self) -> None:
        """End leases when their time has come, see that all is in force still; until cancelled."""
        while True:
            self._news.clear()
            await self._end_leases()
            ends = [shape.next_end(self._now()) for shape in self._shapes.values()]
            wait = min((end for end in ends if end is not None), default=_LOOK_AGAIN_S)
            try:
                async with asyncio.timeout(min(max(wait, 0.0), _LOOK_AGAIN_S)):
                    await self._news.wait()
            except TimeoutError:
                if wait >= _LOOK_AGAIN_S:
                    await self.look_again()

    async def _end_leases(self) -> None:
        now = self._now()
        over = {way: shape.at(now) for way, shape in self._shapes.items() if shape.at(now) != shape}
        if not over:
            return
        ended = {way: self._shapes[way].ended(now) for way in over}
        try:
            self._take_shapes(over, now)
        except OtterError:  # a full disk: the memory of it ends by itself, too, when it is read
            for way, shape in over.items():
                self._shapes[way] = shape
                self._layers["shape"][way] = shape.change()
                self._recompute(way)
        await self.settle()
        for way, was in ended.items():
            self._tell(*told(way, "shape", was, self.outcome(way), ended=True))

    # --- in force ----------------------------------------------------------------------------

    async def settle(self) -> None:
        """Bring what has changed into force; returns when it is, or when it is known why not."""
        await self._bring_changes_into_force()
        if any(outcome.error for outcome in list(self._outcomes.values())):
            self.failed()
        await self.see_to_cutting()

    async def _bring_changes_into_force(self) -> None:
        async with self._turn:  # at most one of the loop's threads waits for the driver
            dirty, self._dirty = self._dirty, set()
            if not dirty or self._made is None:
                self._dirty |= dirty
                return
            lacking = {way.link for way in dirty} - self._made
            if any(self._asked[w].asked() for w in dirty if w.link in lacking):
                await self._remake(dirty)
                return
            await asyncio.to_thread(self._drive, [w for w in dirty if w.link in self._made])

    @property
    def needs_cutting(self) -> bool:
        """Whether all that is sent into the mesh has to be cut into packets first."""
        driver = self._choice.driver
        if driver is None or not driver.cuts_nothing:
            return False
        return any(spec.asked() for spec in self._asked.values())

    async def see_to_cutting(self) -> None:
        """Tell whoever sends into the mesh, when the first link is shaped or the last no more."""
        needed = self.needs_cutting
        if needed != bool(self._cutting) and self.cut is not None:
            self._cutting = needed
            await self.cut(needed)

    async def _remake(self, dirty: Collection[Way]) -> None:
        """Have the devices that links need; what is asked of all comes into force with that."""
        assert self.remake is not None
        try:
            await self.remake()
        except NetworkError as error:
            for way in dirty:
                self._outcomes[way] = Outcome(applied=self.outcome(way).applied, error=error)

    def close(self) -> None:
        """The mesh is to go: no device is made any more."""
        self._closed = True

    def bring_into_force(self) -> None:
        """Ask the driver for all that is asked; blocking.

        Raises:
            NetworkError: The first that could not be set.
        """
        made = self._made or frozenset()
        self._drive([way for way in self._base if way.link in made])
        errors = [o.error for w, o in self._outcomes.items() if o.error and w in self._base]
        if errors:
            raise errors[0]

    def _drive(self, wanted: Iterable[Way]) -> None:
        driver = self._choice.driver
        if driver is None:
            return
        with self._driving:
            asked, directions = self._asked, self._directions
            wants = {
                directions[way]: (way, self._possible(asked[way]))
                for way in wanted
                if way in directions and way in asked
            }
            if not wants:
                return
            try:
                outcomes = driver.apply({d: spec for d, (_, spec) in wants.items()})
            except OtterError as error:
                outcomes = {d: Outcome(applied=None, error=as_network_error(error)) for d in wants}
            for where, outcome in outcomes.items():
                self._outcomes[wants[where][0]] = outcome

    async def look_again(self) -> None:
        """Read back what is in force; what somebody took away is asked for again."""
        await asyncio.to_thread(self.look)
        known = self._known()
        lost = [way for way, o in known if is_lost(self._possible(self._asked[way]), o)]
        if lost:
            text = "nothing is in force any more: made anew"
            self._tell("link", str(lost[0]) if len(lost) == 1 else self._mesh, text, "failed")
            self.failed()

    def _known(self) -> list[tuple[Way, Outcome]]:
        made = self._made or frozenset()
        return [(w, o) for w, o in self._outcomes.items() if w in self._asked and w.link in made]

    def look(self) -> None:
        """Read back what is in force; blocking."""
        driver, made = self._choice.driver, self._made
        if driver is None or not made:
            return
        with self._driving:
            there = {d: w for w, d in self._directions.items() if w.link in made}
            try:
                found = driver.read(there)
            except OtterError as error:
                found = {}
                for way in there.values():
                    self._outcomes[way] = Outcome(applied=None, error=as_network_error(error))
            for where, spec in found.items():
                way = there[where]
                self._outcomes[way] = replace(self.outcome(way), applied=spec)

    def count(self) -> dict[Way, Counters]:
        """What passed so far and what was dropped, where the driver can tell; blocking."""
        driver, made = self._choice.driver, self._made
        if driver is None or not made:
            return {}
        there = {d: w for w, d in self._directions.items() if w.link in made}
        with self._driving:
            try:
                found = driver.counters(there.keys())
            except OtterError:
                found = {}  # `look` tells why
        return {there[where]: counters for where, counters in found.items()}

    def health(self) -> Health | None:
        """How well they are carried; None: by nothing that could be late. Blocking."""
        driver, made = self._choice.driver, self._made
        if driver is None or not made:
            return None
        return driver.health([d for w, d in self._directions.items() if w.link in made])

    # --- for the network (network/scarcity.py), from its thread ------------------------------

    def _shaped(self) -> frozenset[str]:
        """Links that need devices of the driver's kind."""
        driver, asked = self._choice.driver, self._asked
        if driver is None:
            return frozenset()
        links = {way.link for way in asked}
        if driver.device_kind == "veth":
            return frozenset(links)
        return frozenset({w.link for w, s in asked.items() if s.asked()} | self._expected & links)

    def kinds(self) -> Mapping[str, DeviceKind]:
        """Link -> what its devices have to be."""
        if self._closed:
            raise NetworkError("links", "make", self._mesh, "the mesh is being destroyed")
        driver = self._choice.driver
        if driver is None:
            return {}
        self._making = self._shaped()
        return dict.fromkeys(self._making, driver.device_kind)

    def let_go(self, *, shaped_only: bool) -> None:
        """Hold on to no devices but those of links that are wanted: others are about to go."""
        driver = self._choice.driver
        if driver is None:
            return
        if shaped_only and self._former is not None:
            former, self._former = self._former, None
            former.forget(self._mesh)
        links = self._making if shaped_only else {way.link for way in self._base}
        driver.forget(self._mesh, [d for w, d in self._directions.items() if w.link in links])

    def devices_are_there(self) -> None:
        """All devices are there and up: make them what is asked."""
        self._made = self._making if self._choice.driver else frozenset()
        self.bring_into_force()

    # --- telling -----------------------------------------------------------------------------

    def statuses(self) -> tuple[api.LinkStatus, ...]:
        """What `status` shows."""
        now = self._now()
        return tuple(self.status(way, now) for way in self._base)

    def status(self, way: Way, now: Moment | None = None) -> api.LinkStatus:
        """Of one direction."""
        now = now or self._now()
        made, asked, outcome = self._made, self._asked[way], self.outcome(way)
        applied = outcome.applied
        driven = made is not None and way.link in made
        if applied is None and made is not None and not driven and outcome.error is None:
            applied = _PLAIN
        driver = self._choice.driver if driven else None
        by_driver = driver is not None and (driver.device_kind != "veth" or bool(asked.asked()))
        end = self.shape_of(way).next_end(now)
        return api.LinkStatus(
            name=way.link,
            from_=way.source,
            to=way.target,
            driver=self._choice.name if by_driver else NONE,
            asked=asked.asked(),
            applied=None if applied is None else applied.asked(),
            layers=self._layers_of(way),
            reverts_in_s=None if end is None else max(0.0, end),
            lacks=self._choice.refusals(asked),
            error="" if outcome.error is None else str(outcome.error),
        )

    def _layers_of(self, way: Way) -> dict[str, dict[str, Any]]:
        found: dict[str, dict[str, Any]] = {"topology": self._base[way].asked()}
        for layer in LAYERS:
            change = self._layers[layer].get(way, _NOTHING)
            if change:
                found[layer] = change.asked()
        return found
