"""What is in force of one mesh's links: tells the driver what is asked, and what came of it.

The driver is called in threads; what it is told is read at that moment under one lock, so that
whichever call comes last brings the newest of all that was asked. Must not know: who asks, leases,
HTTP, how a driver works.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from typing import NamedTuple

from net.errors import OtterError
from net.links.changes import sound
from net.links.spec import LinkSpec
from otter_agent import api
from otter_agent.errors import NetworkError, explained
from otter_agent.links.base import Counters, DeviceKind, Direction, Health, LinkDriver, Outcome
from otter_agent.links.choose import Choice
from otter_agent.links.layers import Layers, Step
from otter_agent.links.planner import Later, Part, Planner, Played
from otter_agent.links.telling import as_network_error, is_lost
from otter_agent.links.ways import Way, directions, less

_NONE = Outcome(applied=None)


class Wanted(NamedTuple):
    """What a direction shall be, and which steps that makes superfluous."""

    way: Way
    part: Part
    over: tuple[Step, ...]


class Driving:
    """Of one mesh.

    Args:
        choice: The driver.
        agent_id: Part of the namespaces' names.
        layers: What is asked.
        mesh: The mesh's name.

    Attributes:
        outcomes: What came of it, as far as is known.
        told: What the driver was told last, and has said to be done.
        made: Links that have devices for the driver; None: nothing is there yet.
        era: Counts how often that has changed.
    """

    def __init__(self, choice: Choice, agent_id: str, layers: Layers, mesh: str) -> None:
        self.choice = choice
        self.outcomes: dict[Way, Outcome] = {}
        self.told: dict[Way, LinkSpec] = {}
        self.made: frozenset[str] | None = None
        self.era = 0
        self._agent_id = agent_id
        self._layers = layers
        self._mesh = mesh
        self._directions: dict[Way, Direction] = {}
        self._less_s: dict[Way, float] = {}
        self._expected: frozenset[str] = frozenset()
        self._making: frozenset[str] = frozenset()
        self._closed = False
        self._former: LinkDriver | None = None
        self._planner: Planner | None = None
        self._driving = threading.Lock()
        self._played: list[Played] = []
        self._find_planner()

    def take(self, spec: api.MeshSpec, choice: Choice | None) -> None:
        """Another topology holds, `layers` have it already; perhaps another driver, too."""
        if choice is not None and choice.driver is not self.choice.driver:
            self._former, self.choice = self.choice.driver, choice
            self.made, self.outcomes, self.told = None, {}, {}
            self._find_planner()
        ways = self._layers.base
        self._directions = directions(self._agent_id, spec)
        self._less_s = less(spec)
        self.outcomes = {way: o for way, o in self.outcomes.items() if way in ways}
        self.era += 1

    def _find_planner(self) -> None:
        driver = self.choice.driver
        self._planner = None if driver is None else driver.planner()

    def expect(self, links: Collection[str]) -> None:
        """These will be changed: have devices for them that can be, from the next convergence."""
        self._expected = frozenset(links)

    def outcome(self, way: Way) -> Outcome:
        """What came of what is asked of a direction."""
        return self.outcomes.get(way, _NONE)

    def less_s(self, way: Way) -> float:
        """What the network between machines has of a direction's delay already."""
        return self._less_s.get(way, 0.0)

    def possible(self, way: Way, spec: LinkSpec) -> LinkSpec:
        """What a driver is told: without what it can't do; that much is told in `status`.

        Nor with the delay that the network between machines has already.
        """
        refused = self.choice.refusals(spec)
        spec = replace(spec, **dict.fromkeys(refused)) if refused else spec
        less_s = self._less_s.get(way, 0.0)
        if not less_s or not spec.delay_s:
            return spec
        return sound(replace(spec, delay_s=max(0.0, spec.delay_s - less_s)))

    # --- in force ----------------------------------------------------------------------------

    def drive(self, wanted: Iterable[Way]) -> None:
        """Make directions what is asked of them, now and later; blocking."""
        driver = self.choice.driver
        if driver is None:
            return
        with self._driving:
            now_s = time.monotonic()
            wants = {
                self._directions[way]: self._wanted(way, now_s)
                for way in wanted
                if way in self._directions and way in self._layers.asked
            }
            if not wants:
                return
            parts = {where: want.part for where, want in wants.items()}
            outcomes = self._made_so(driver, parts)
            done_s = time.monotonic()
            for where, outcome in outcomes.items():
                way, part, over = wants[where]
                self.came(way, part.now, outcome)
                self._played += [Played(step.number, done_s, outcome.error) for step in over]

    def came(self, way: Way, spec: LinkSpec | None, outcome: Outcome) -> None:
        """This came of what the driver was told."""
        self.outcomes[way] = outcome
        if spec is not None and outcome.error is None:
            self.told[way] = spec
        else:
            self.told.pop(way, None)

    def _wanted(self, way: Way, now_s: float) -> Wanted:
        """What is asked of it; steps whose time has come are part of that."""
        steps = tuple(self._layers.later.get(way, ()))
        over = tuple(step for step in steps if step.at_s <= now_s)
        spec = over[-1].spec if over else self._layers.asked[way]
        later = tuple(self._later(step) for step in steps[len(over) :])
        return Wanted(way, Part(self.possible(way, spec), later), over)

    def _later(self, step: Step) -> Later:
        return Later(step.number, step.at_s, self.possible(step.way, step.spec))

    def _made_so(
        self, driver: LinkDriver, parts: Mapping[Direction, Part]
    ) -> dict[Direction, Outcome]:
        try:
            if self._planner is None:
                specs = {d: part.now for d, part in parts.items() if part.now is not None}
                return driver.apply(specs)
            outcomes, played = self._planner.play(self._mesh, parts)
        except Exception as caught:  # noqa: BLE001 - what else was asked mustn't be forgotten for it
            error = as_network_error(explained(caught))
            return {d: Outcome(applied=None, error=error) for d in parts}
        self._played += played
        return outcomes

    def bring_into_force(self) -> None:
        """Ask the driver for all that is asked; blocking.

        Raises:
            NetworkError: The first that could not be set.
        """
        made, base = self.made or frozenset(), self._layers.base
        self.drive([way for way in base if way.link in made])
        errors = [o.error for w, o in self.outcomes.items() if o.error and w in base]
        if errors:
            raise errors[0]

    # --- what is to come ---------------------------------------------------------------------

    def plans(self, way: Way) -> bool:
        """Whether changes of a direction can be planned."""
        made = self.made or frozenset()
        return self._planner is not None and way.link in made and way in self._directions

    @property
    def ready(self) -> bool:
        """Whether changes to come can be taken in at once."""
        return self._planner is None or self._planner.ready

    def plan(self, steps: Collection[Step]) -> list[Played]:
        """Have steps made at their time; all that was played since last asked. Blocking."""
        with self._driving:
            parts: dict[Direction, Part] = {}
            for step in steps:
                if (where := self._directions.get(step.way)) is not None:
                    before = parts[where].later if where in parts else ()
                    parts[where] = Part(None, (*before, self._later(step)))
            if self._planner is not None and self.made:
                try:
                    self._played += self._planner.play(self._mesh, parts)[1]
                except OtterError as error:
                    failed, now_s = as_network_error(error), time.monotonic()
                    self._played += [Played(step.number, now_s, failed) for step in steps]
            played, self._played = self._played, []
            return played

    # --- read back ---------------------------------------------------------------------------

    def lost(self) -> list[Way]:
        """Directions of which nothing is in force any more, though nobody said why.

        Against what the driver has said to be done: more is asked already while it is being told,
        and what was planned may have come without having been accounted for.
        """
        made, later, now_s = self.made or frozenset(), self._layers.later, time.monotonic()
        known = [way for way in self.told if way.link in made and way in self._layers.asked]
        quiet = [way for way in known if way not in later or later[way][0].at_s > now_s]
        return [way for way in quiet if is_lost(self.told[way], self.outcome(way))]

    def look(self) -> None:
        """Read back what is in force; blocking."""
        driver, made = self.choice.driver, self.made
        if driver is None or not made:
            return
        with self._driving:
            there = {d: w for w, d in self._directions.items() if w.link in made}
            try:
                found = driver.read(there)
            except OtterError as error:
                found = {}
                for way in there.values():
                    self.outcomes[way] = Outcome(applied=None, error=as_network_error(error))
            for where, spec in found.items():
                way = there[where]
                self.outcomes[way] = replace(self.outcome(way), applied=spec)

    def count(self) -> dict[Way, Counters]:
        """What passed so far and what was dropped, where the driver can tell; blocking."""
        driver, made = self.choice.driver, self.made
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
        driver, made = self.choice.driver, self.made
        if driver is None or not made:
            return None
        return driver.health([d for w, d in self._directions.items() if w.link in made])

    # --- devices (network/scarcity.py), from the network's thread ----------------------------

    def close(self) -> None:
        """The mesh is to go: no device is made any more."""
        self._closed = True

    def _shaped(self) -> frozenset[str]:
        """Links that need devices of the driver's kind."""
        driver, asked = self.choice.driver, self._layers.asked
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
        driver = self.choice.driver
        if driver is None:
            return {}
        self._making = self._shaped()
        return dict.fromkeys(self._making, driver.device_kind)

    def let_go(self, *, shaped_only: bool) -> None:
        """Hold on to no devices but those of links that are wanted: others are about to go."""
        driver = self.choice.driver
        if driver is None:
            return
        if shaped_only and self._former is not None:
            former, self._former = self._former, None
            former.forget(self._mesh)
        links = self._making if shaped_only else {way.link for way in self._layers.base}
        driver.forget(self._mesh, [d for w, d in self._directions.items() if w.link in links])

    def devices_are_there(self) -> None:
        """All devices are there and up: make them what is asked."""
        self.made = self._making if self.choice.driver else frozenset()
        self.era += 1
        self.bring_into_force()
        if self._planner is not None and self._expected & self.made:
            self._planner.expect()
