"""`NetemDriver`: directions of links made scarce by qdiscs on their veth pairs.

It keeps in memory where a direction's qdiscs are and what they were told, so that a change costs
one message per qdisc that differs, answered by what the kernel then has; all of that is found again
in the kernel where memory fails: after a restart, or when a device isn't the one it was. One lock
lets one thread at a time act: the kernel does the same (rtnl).
"""

from __future__ import annotations

import errno
import threading
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

from net.links.spec import LinkSpec
from otter_agent.errors import NetworkError
from otter_agent.links.base import (
    Counters,
    DeviceKind,
    Direction,
    Facts,
    Health,
    LinkDriver,
    Outcome,
)
from otter_agent.links.netem import medium, tc, tree
from otter_agent.links.netem import place as places
from otter_agent.links.netem.counters import Downtimes, counters_of
from otter_agent.links.netem.hubs import UNEVEN, Hubs
from otter_agent.links.netem.observe import Observer
from otter_agent.links.netem.place import Place, Step
from otter_agent.links.netem.playing import letters
from otter_agent.links.netem.playing.planner import NetemPlanner, Players
from otter_agent.links.netem.playing.protocol import Lent
from otter_agent.links.netem.probe import Found, probe
from otter_agent.links.netem.sockets import Sockets
from otter_agent.links.planner import Planner
from otter_agent.links.planning import PlanningThread
from otter_agent.network.netlink import Answer, refused

_STALE = frozenset({errno.ENOENT, errno.ENODEV, errno.EINVAL, errno.EEXIST, errno.EOPNOTSUPP})
"""Answers to a change of what isn't there as it was remembered."""
_TOLERATED: Mapping[str, Collection[int]] = {
    "ingress": {errno.EEXIST},
    "detour": {errno.EEXIST},
    "undo": {errno.ENOENT, errno.EINVAL},
}


class NetemDriver(LinkDriver):
    """The kernel's queues.

    Args:
        folder: In the agent's run folder, for the socket and log of the helper that makes changes
            at their time; None: a thread makes them.
        idle_s: How long that helper lives without anything to do.
        answer_s: How long it has to answer; one that hangs is killed.
    """

    name: ClassVar[str] = "netem"
    device_kind: ClassVar[DeviceKind] = "veth"
    marks_what_passed: ClassVar[bool] = True
    cuts_nothing: ClassVar[bool] = True

    def __init__(
        self, folder: Path | None = None, *, idle_s: float = 60.0, answer_s: float = 5.0
    ) -> None:
        self._lock = threading.RLock()
        self._planner: Planner = PlanningThread(self)
        self._players: Players | None = None
        if folder is not None:
            self._players = Players(folder, idle_s, answer_s)
            self._planner = NetemPlanner(self, self._players, self._planner)
        self._awaited: set[Direction] = set()
        self._sockets = Sockets(self._moved)
        self._observer = Observer(self._sockets)
        self._hubs = Hubs(self._sockets)
        self._namespaces: defaultdict[str, set[str]] = defaultdict(set)
        self._in: defaultdict[str, set[Direction]] = defaultdict(set)
        self._places: dict[Direction, Place] = {}
        self._asked: dict[Direction, LinkSpec] = {}
        self._down = Downtimes()
        self._facts: Found | None = None

    # --- the contract -----------------------------------------------------------------------------

    def probe(self) -> Facts:
        """Make all qdiscs in a namespace that ends at once; the answer is kept."""
        return self._found().facts

    def refusals(self, spec: LinkSpec) -> dict[str, str]:
        """What netem, or this kernel, can't do."""
        wrong = tree.refusals(spec)
        if spec.queue_discipline in ("codel", "red"):
            missing = self._found().missing.get(spec.queue_discipline)
            if missing:
                wrong["queue_discipline"] = missing
        if spec.medium is not None and "medium" in self._found().missing:
            names = [name for name in ("medium", "medium_weight") if name in spec.asked()]
            wrong |= dict.fromkeys(names, self._found().missing["medium"])
        return wrong

    def conflicts(self, asked: Iterable[LinkSpec]) -> dict[str, str]:
        """Media whose members have different rates."""
        media: defaultdict[str, list[LinkSpec]] = defaultdict(list)
        for spec in asked:
            if spec.medium is not None:
                media[spec.medium].append(spec)
        return {name: UNEVEN for name, specs in media.items() if medium.uneven(specs)}

    def apply(self, asked: Mapping[Direction, LinkSpec]) -> dict[Direction, Outcome]:
        """See `LinkDriver.apply`. What netem would refuse is an error of that direction."""
        with self._lock:
            if self._players is not None:
                self._players.take_back(asked)
            outcomes = {d: self._unacceptable(d, spec) for d, spec in asked.items()}
            todo = {d: spec for d, spec in asked.items() if outcomes[d] is None}
            for netns in {n for d in todo for n in (d.source_netns, d.target_netns)}:
                self._sockets.look(netns)
            left = self._hubs.leave({d for d, spec in todo.items() if spec.medium is None})
            known = {d: spec for d, spec in todo.items() if self._is_known(d, spec)}
            again: dict[Direction, LinkSpec] = {}
            for direction, found in self._change(known).items():
                if found is None:
                    again[direction] = todo[direction]
                outcomes[direction] = found
            rest = {d: spec for d, spec in todo.items() if d not in known} | again
            outcomes |= self._observe_and_change(rest)
            shared = {d: s for d, s in todo.items() if s.medium and _is_fine(outcomes[d])}
            for direction, error in {**left, **self._hubs.put(shared)}.items():
                outcomes[direction] = Outcome(applied=None, error=error)
            for direction, error in self._hubs.uneven(shared).items():
                if _is_fine(outcomes[direction]):
                    outcomes[direction] = Outcome(applied=shared[direction], error=error)
            return {d: found for d, found in outcomes.items() if found is not None}

    def read(self, directions: Iterable[Direction]) -> dict[Direction, LinkSpec]:
        """See `LinkDriver.read`; nothing is in force where devices are gone."""
        with self._lock:
            wanted = list(directions)
            found, _ = self._observe(wanted)
            shared = self._hubs.agreeing(wanted)
            places_of = {d: found.get(d) for d in wanted}
            return {d: self._spec(d, p, shared) if p else LinkSpec() for d, p in places_of.items()}

    def counters(self, directions: Collection[Direction]) -> dict[Direction, Counters]:
        """See `LinkDriver.counters`; those whose devices are gone are left out."""
        with self._lock:
            found, _ = self._observe(directions, counting=True)
            queues = self._hubs.queues(found)
            return {
                d: self._down.split(d, counters_of(place, queues.get(d)))
                for d, place in found.items()
            }

    def forget(self, mesh: str, keep: Collection[Direction] = ()) -> None:
        """Close the sockets in a mesh's namespaces, which would keep them alive.

        In those that stay, what was made for links that don't is deleted: nothing passes them then.
        """
        with self._lock:
            if self._players is not None:
                self._players.forget(mesh)
            staying = {d for d in keep if d.mesh == mesh}
            needed = {n for d in staying for n in (d.source_netns, d.target_netns)}
            gone = {d for d in {*self._places, *self._asked} if d.mesh == mesh} - staying
            for direction in gone:
                if direction.target_netns in needed:
                    self._observer.drop_detour(direction)
                if direction in self._hubs.members and direction.source_netns in needed:
                    self._observer.drop_entry(direction)
                self._forget(direction)
            self._hubs.forget(gone, needed)
            for netns in self._namespaces.pop(mesh, set()) - needed:
                self._sockets.close(netns)
                self._in.pop(netns, None)
            if needed:
                self._namespaces[mesh] = needed

    def planner(self) -> Planner:
        """A process beside, or a thread."""
        return self._planner

    def health(self, directions: Collection[Direction]) -> Health | None:
        """How late this machine's kernel is with packets, and what it lost of a mesh's."""
        with self._lock:
            shaped = [d for d in directions if (s := self._asked.get(d)) and s.asked()]
        if self._players is None or not shaped:
            return None
        pid, pulse = self._players.pulse(shaped[0].mesh)
        if pulse is None:
            return None
        with self._lock:
            passed = self._observer.traffic(shaped)
        return Health(
            pid=pid, in_kernel=True, moments=pulse.moments, late_moments=pulse.late_moments,
            worst_s=pulse.worst_s, packets=passed.packets, overruns=passed.overruns,
            no_room=passed.no_room,
        )  # fmt: skip

    def close(self) -> None:
        """Close all sockets; the qdiscs stay, and so does who makes changes at their time."""
        with self._lock:
            self._sockets.close()
            if self._players is not None:
                self._players.close()

    def end(self) -> None:
        """The same, and nothing that is to come does."""
        self.close()
        if self._players is not None:
            self._players.end()

    # --- what is to come (playing/) ---------------------------------------------------------------

    @property
    def pid(self) -> int:
        """Of the process that makes changes at their time, for who wants to look; 0: none."""
        return 0 if self._players is None else self._players.pid

    def lend(
        self, wanted: Mapping[Direction, Sequence[LinkSpec]]
    ) -> tuple[list[Lent], dict[Direction, NetworkError]]:
        """Directions as they are, with the devices that what is to come needs.

        From here on somebody else changes them: what is known of them here is forgotten.
        """
        with self._lock:
            failed = {
                d: NetworkError("netem", "plan changes", str(d), "it was never set up")
                for d in wanted
                if d not in self._asked
            }
            self._awaited |= {
                d for d, specs in wanted.items() if any(map(tree.delays_or_paces, specs))
            }
            again = {d: self._asked[d] for d in wanted if d not in failed and not self._is_ready(d)}
            for direction, outcome in self._observe_and_change(again).items():
                if outcome.error is not None:
                    failed[direction] = outcome.error
            lent = [self._lent(d) for d in wanted if d not in failed]
            return lent, failed

    def shares_alike(self, direction: Direction, specs: Iterable[LinkSpec]) -> bool:
        """Whether a direction shares in all of these what it shares now, in the same way."""
        with self._lock:
            parts = {medium.part(spec) for spec in specs}
            return parts <= {medium.part(self._asked.get(direction, LinkSpec()))}

    def _is_ready(self, direction: Direction) -> bool:
        place = self._places.get(direction)
        return place is not None and (place.filtered or direction not in self._awaited)

    def _lent(self, direction: Direction) -> Lent:
        place = self._places.pop(direction)
        ends = (direction.source_netns, direction.target_netns)
        return Lent(
            direction=direction,
            inodes=(self._sockets.inode(ends[0]), self._sockets.inode(ends[1])),
            devices=(place.source, place.target, place.detour),
            ready=place.filtered,
            late_ns=self._hubs.late_ns,
            have=letters.told(place.tree),
            apart=place.apart,
        )

    def played(self, direction: Direction, spec: LinkSpec, drops: int | None) -> None:
        """This is in force of one that was lent."""
        with self._lock:
            if direction in self._asked:
                self._asked[direction] = spec
                if drops is not None:
                    self._down.turned(direction, drops, down=spec.up is False)

    # --- changes ----------------------------------------------------------------------------------

    def _observe(
        self,
        directions: Iterable[Direction],
        asked: dict[Direction, tree.Apart] | None = None,
        *,
        counting: bool = False,
    ) -> tuple[dict[Direction, Place], dict[Direction, NetworkError]]:
        """Look, and remember where they are."""
        wanted = list(directions)
        for direction in wanted:
            self._places.pop(direction, None)
            for netns in (direction.source_netns, direction.target_netns):
                self._namespaces[direction.mesh].add(netns)
                self._in[netns].add(direction)
        apart = {d: _apart(d, spec) for d in wanted if (spec := self._asked.get(d))}
        found, failed = self._observer.observe(wanted, apart | (asked or {}), counting=counting)
        self._places |= {d: place for d, place in found.items() if not self._is_lent(d)}
        return found, failed

    def _is_lent(self, direction: Direction) -> bool:
        """Whether somebody else changes it: what is seen of it is so at that moment only."""
        return self._players is not None and self._players.has(direction)

    def _moved(self, netns: str) -> None:
        """Devices in a namespace have come or gone."""
        for direction in self._in.get(netns, ()):
            self._places.pop(direction, None)
        self._hubs.moved(netns)

    def _is_known(self, direction: Direction, spec: LinkSpec) -> bool:
        place = self._places.get(direction)
        return place is not None and place.apart == _apart(direction, spec)

    def _unacceptable(self, direction: Direction, spec: LinkSpec) -> Outcome | None:
        wrong = spec.problems() or self.refusals(spec)
        for name, why in wrong.items():
            error = NetworkError("netem", f"set {name}", str(direction), why)
            return Outcome(applied=None, error=error)
        if spec.medium is not None and not _apart(direction, spec):
            why = "the kernel's queues can share it only where all links of the medium meet"
            error = NetworkError("netem", "set medium", str(direction), why)
            return Outcome(applied=None, error=error)
        return None

    def _observe_and_change(self, asked: Mapping[Direction, LinkSpec]) -> dict[Direction, Outcome]:
        """The long way: look first; make the devices of detours that are missing."""
        if not asked:
            return {}
        found, failed = self._observe(asked, {d: _apart(d, spec) for d, spec in asked.items()})
        bare = {
            d: place
            for d, place in found.items()
            if not place.detour and self._wanted(asked[d], place, d).wire is not None
        }
        failed |= self._observer.add_devices(bare, "detour")
        first = {d: place for d, place in found.items() if not place.source}
        failed |= self._observer.add_devices(first, "source")
        for netns in {d.hub_netns for d in found}:
            self._hubs.moved(netns)  # devices may be others than it remembers
        outcomes = {d: Outcome(applied=None, error=error) for d, error in failed.items()}
        ready = {d: spec for d, spec in asked.items() if d not in failed}
        for direction, outcome in self._change(ready, last=True).items():
            assert outcome is not None
            outcomes[direction] = outcome
        return outcomes

    def _change(
        self, asked: Mapping[Direction, LinkSpec], *, last: bool = False
    ) -> dict[Direction, Outcome | None]:
        """Send what differs, in one batch per namespace. None: look again first."""
        wants = {d: self._wanted(spec, self._places[d], d) for d, spec in asked.items()}
        outcomes: dict[Direction, Outcome | None] = {}
        todo: defaultdict[str, list[tuple[Direction, Step]]] = defaultdict(list)
        for direction, want in wants.items():
            place = self._places[direction]
            if want.wire is not None and not place.detour:
                outcomes[direction] = None  # a device is to be made: the long way
                continue
            for step in places.steps(place, want):
                netns = direction.source_netns if step.side == "source" else direction.target_netns
                todo[netns].append((direction, step))
        errors: dict[Direction, NetworkError] = {}
        for netns, batch in todo.items():
            self._send(netns, batch, errors)
        for direction, spec in asked.items():
            if direction in outcomes:
                continue
            error = errors.get(direction)
            if error is not None and error.errno in _STALE and not last:
                outcomes[direction] = None
            else:
                outcomes[direction] = self._outcome(direction, spec, wants[direction], error)
        return outcomes

    def _send(
        self,
        netns: str,
        batch: list[tuple[Direction, Step]],
        errors: dict[Direction, NetworkError],
    ) -> None:
        try:
            with self._sockets.of(netns) as netlink:
                answers = netlink.exchange([step.request for _, step in batch])
        except OSError as exc:
            words = Answer(exc.errno or 0, "", None)
            errors |= {d: refused(step.request, words, str(d), self.name) for d, step in batch}
            return
        except NetworkError as exc:
            errors |= {d: exc for d, _ in batch}
            return
        for (direction, step), answer in zip(batch, answers, strict=True):
            self._note(direction, step, answer, errors)

    def _note(
        self,
        direction: Direction,
        step: Step,
        answer: Answer,
        errors: dict[Direction, NetworkError],
    ) -> None:
        place = self._places[direction]
        if answer.code and answer.code not in _TOLERATED.get(step.part, ()):
            errors.setdefault(direction, refused(step.request, answer, str(direction), self.name))
            return
        if step.part in ("ingress", "detour"):
            place.ingress, place.filtered = True, step.part == "detour"
        elif answer.echo is not None:
            places.absorb(place, tc.parse(*answer.echo), step.side)
        if step.part == "entry":
            self._down.note(direction, place)

    def _outcome(
        self, direction: Direction, spec: LinkSpec, want: tree.Tree, error: NetworkError | None
    ) -> Outcome:
        place = self._places[direction]
        self._asked[direction] = spec
        if error is None and places.agrees(place.tree, want):
            return Outcome(applied=spec)
        if error is None:
            why = "the kernel has something else than it was told"
            error = NetworkError("netem", "read back", str(direction), why)
        self._places.pop(direction, None)
        return Outcome(applied=tree.spec_of(place.tree), error=error)

    # --- reading ----------------------------------------------------------------------------------

    def _spec(self, direction: Direction, place: Place, shared: Collection[Direction]) -> LinkSpec:
        """As it was asked where that is what the kernel has; else in the kernel's terms."""
        asked = self._asked.get(direction)
        if asked is not None and (asked.medium is None or direction in shared):
            want = self._wanted(asked, place, direction)
            through = place.filtered or want.wire is None
            if through and places.agrees(place.tree, want):
                return asked
        return tree.spec_of(place.tree)

    def _wanted(self, spec: LinkSpec, place: Place, direction: Direction) -> tree.Tree:
        have = place.tree
        if direction in self._awaited and have.wire is None:
            have = replace(have, wire=tree.IDLE)  # its second half will be needed
        return tree.wanted(spec, have, place.apart, self._hubs.late_ns)

    def _forget(self, direction: Direction) -> None:
        self._places.pop(direction, None)
        self._asked.pop(direction, None)
        self._awaited.discard(direction)
        self._down.forget(direction)
        for netns in (direction.source_netns, direction.target_netns):
            if netns in self._in:
                self._in[netns].discard(direction)

    def _found(self) -> Found:
        with self._lock:
            if self._facts is None:
                self._facts = probe()
                self._hubs.late_ns = self._facts.late_ns
            return self._facts


def _apart(direction: Direction, spec: LinkSpec) -> tree.Apart:
    if spec.medium is None:
        return ""
    ends: dict[str, tree.Apart] = {direction.source_netns: "down", direction.target_netns: "up"}
    return ends.get(direction.hub_netns, "")


def _is_fine(outcome: Outcome | None) -> bool:
    return outcome is not None and outcome.error is None
