"""What is asked of the directions of one mesh: now, by three layers, and what is known to come.

    topology ─► timeline ─► shape (by hand) ─► asked
                   └ later: the changes of the timeline that are planned

Changed on the event loop; threads read single directions of it. Must not know: drivers, leases,
whether anything of it is in force.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from net.links.changes import Change, in_force
from net.links.spec import LinkSpec
from otter_agent.links.telling import LAYERS, Layer
from otter_agent.links.ways import Way

_NOTHING = Change()


@dataclass(slots=True)
class Step:
    """A change of the timeline that is to come.

    Attributes:
        number: No other has it.
        at_s: When, by CLOCK_MONOTONIC.
        change: All that the timeline asks of the direction from then on.
        spec: What is asked of it then, all layers together as they are now.
    """

    number: int
    way: Way
    at_s: float
    change: Change
    spec: LinkSpec


class Layers:
    """Of one mesh.

    Attributes:
        base: What the topology asks.
        asked: What all layers ask together, now.
        later: What is planned, of each direction in the order of its time.
        dirty: Directions of which something else is asked than a driver was told.
        turned: Called when a direction goes down or up.
    """

    def __init__(self) -> None:
        self.base: dict[Way, LinkSpec] = {}
        self.asked: dict[Way, LinkSpec] = {}
        self.later: dict[Way, deque[Step]] = {}
        self.dirty: set[Way] = set()
        self.turned: Callable[[], None] = lambda: None
        self._changes: dict[Layer, dict[Way, Change]] = {layer: {} for layer in LAYERS}
        self._steps: dict[int, Step] = {}

    def take(self, base: Mapping[Way, LinkSpec], by_hand: Mapping[Way, Change]) -> None:
        """Another topology holds; what is changed and planned stays where the direction does."""
        self.base = dict(base)
        self._changes["timeline"] = {
            way: change for way, change in self._changes["timeline"].items() if way in base
        }
        self._changes["shape"] = dict(by_hand)
        for way in self.later.keys() - base.keys():
            self.drop_later(way)
        self.asked = {way: self._merged(way) for way in base}
        for way in self.later:
            self._renew(way)
        self.dirty = set(base)

    def change(self, layer: Layer, way: Way, change: Change) -> None:
        """A layer asks for this, and nothing else."""
        self._changes[layer][way] = change
        asked = self._merged(way)
        if asked != self.asked[way]:
            self._ask(way, asked)
            self.dirty.add(way)
        if layer != "timeline" and way in self.later:
            self._renew(way)
            self.dirty.add(way)

    def _ask(self, way: Way, spec: LinkSpec) -> None:
        turned = (spec.up is False) != (self.asked[way].up is False)
        self.asked[way] = spec
        if turned:
            self.turned()

    def of(self, layer: Layer, way: Way) -> Change:
        """What a layer asks."""
        return self._changes[layer].get(way, _NOTHING)

    def below(self, way: Way, layer: Layer) -> LinkSpec:
        """What is asked of a direction without a layer and those above it."""
        under = LAYERS[: LAYERS.index(layer)]
        return in_force(self.base[way], *(self.of(one, way) for one in under))

    def told(self, way: Way) -> dict[str, dict[str, Any]]:
        """What each layer asks, where it asks for something."""
        found: dict[str, dict[str, Any]] = {"topology": self.base[way].asked()}
        for layer in LAYERS:
            change = self.of(layer, way)
            if change:
                found[layer] = change.asked()
        return found

    def _merged(self, way: Way, timeline: Change | None = None) -> LinkSpec:
        timeline = self.of("timeline", way) if timeline is None else timeline
        return in_force(self.base[way], timeline, self.of("shape", way))

    # --- what is to come ---------------------------------------------------------------------

    def plan(self, number: int, way: Way, at_s: float, change: Change) -> Step:
        """The timeline will ask for this; nothing planned of the direction is later."""
        step = Step(number, way, at_s, change, self._merged(way, change))
        self.later.setdefault(way, deque()).append(step)
        self._steps[number] = step
        return step

    def _renew(self, way: Way) -> None:
        for step in self.later[way]:
            step.spec = self._merged(way, step.change)

    def came(self, number: int) -> list[Step]:
        """A step has come, and with it all before it of its direction; empty: it is none of ours.

        The last of them is what the timeline asks for now.
        """
        step = self._steps.get(number)
        if step is None:
            return []
        steps = self.later[step.way]
        found: list[Step] = []
        while not found or found[-1] is not step:
            found.append(steps.popleft())
            del self._steps[found[-1].number]
        if not steps:
            del self.later[step.way]
        self._changes["timeline"][step.way] = step.change
        self._ask(step.way, step.spec)
        return found

    def drop_later(self, way: Way) -> bool:
        """Nothing is planned of a direction any more; returns whether anything was."""
        steps = self.later.pop(way, ())
        for step in steps:
            del self._steps[step.number]
        return bool(steps)

    def overdue(self, since_s: float) -> Collection[Way]:
        """Directions with a step that was to come before a moment."""
        return [way for way, steps in self.later.items() if steps[0].at_s < since_s]

    def next_s(self) -> Iterator[float]:
        """When the first step of each direction is to come."""
        return (steps[0].at_s for steps in self.later.values())
