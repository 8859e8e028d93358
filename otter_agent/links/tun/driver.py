"""The link driver `tun`: tells the helper what to carry, and has another one where it is lost.

A link is carried whole: where one direction is asked for, the other passes too, unhindered until
something is asked of it. What was asked last is remembered here and told to every new helper, each
link's both directions at once, so that nothing ever passes unshaped.
"""

from __future__ import annotations

import os
import platform
import select
import signal
import threading
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from msgspec.structs import asdict, replace

from net.links.spec import LinkSpec
from otter_agent.errors import NetworkError
from otter_agent.links.base import Counters, Direction, Facts, Health, LinkDriver, Outcome
from otter_agent.links.helper import Helper, Kind, Lost
from otter_agent.links.planner import Later, Part, Planner, Played
from otter_agent.links.tun import device, ends, protocol, schedules
from otter_agent.links.tun.pulse import Watched
from otter_agent.network import namespaces

ERROR_S = 0.0001
"""By how much a packet is late, median, on an idle machine: benchmarks/links.py measures it."""
_ATTEMPTS = 3
_PAUSES_S = (0.0, 0.1, 0.5, 2.0, 5.0)
"""Before another helper is started, where one after the other ends."""
_STEADY_S = 10.0
_LOOK_MS = 250
_MOST_LATER = 20_000
"""Changes to come that are remembered, to be told to another helper once they have come."""

_HELPER = Kind(
    driver="tun", package="otter_agent.links.tun", mark=protocol.MARK,
    hello=protocol.Request(kind="read"), bye=protocol.Request(kind="end"), reply=protocol.Answer,
)  # fmt: skip


class TunDriver(LinkDriver, Planner):
    """Links in user space.

    Args:
        folder: In the agent's run folder, for the helper's socket and log.
        traces: Folder of the traces whose opportunities may be asked for, by digest.
        idle_s: How long the helper lives without links.
        answer_s: How long it has to answer; one that hangs is killed, and another one started.
        stays: Whether the helper, once it is there, is kept as long as this is.
    """

    name = "tun"
    device_kind = "tun"
    keeps_time = True

    def __init__(
        self,
        folder: Path,
        traces: Path | None = None,
        *,
        idle_s: float = 60.0,
        answer_s: float = 20.0,
        stays: bool = False,
    ) -> None:
        self._helper = Helper(_HELPER, folder / "links.s", idle_s, answer_s, stays=stays)
        self._stays = stays
        self._traces = traces or folder
        self._guard = threading.RLock()
        self._asked: dict[Direction, LinkSpec] = {}
        self._carried: dict[Direction, tuple[int, int]] = {}
        self._later: dict[int, tuple[Direction, LinkSpec]] = {}
        self._noting = threading.Lock()
        self._lost: dict[str, float] = {}
        self._closed = threading.Event()
        self._wake = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._failures = 0
        self._watcher: threading.Thread | None = None

    @property
    def pid(self) -> int:
        """The helper's, for who wants to look at it; 0: there is none."""
        return self._helper.pid

    def stand_by(self) -> None:
        """Have the helper that stays: a small computer takes a second to load it.

        One that is there and carries nothing may be an earlier version's: another takes its place.
        """
        with self._guard:
            if not self._stays or self._closed.is_set():
                return
            before = self._helper.pid
            with suppress(Lost):
                if self._helper.find() and self._helper.pid != before:
                    if self._helper.ask(protocol.Request(kind="read", everything=True)).found:
                        self._adopt()
                    else:
                        self._helper.end()
            self._have()

    def probe(self) -> Facts:
        """Whether TUN devices can be made, in a namespace that is gone again."""

        def look() -> str:
            namespaces.unshare()
            return device.usable()

        try:
            why = namespaces.in_own_thread(look)
        except OSError as exc:
            why = str(namespaces.failed("make a namespace for", "a TUN device", exc))
        if why:
            return Facts(usable=False, detail=why)
        detail = f"TUN devices and a process that carries packets, Linux {platform.release()}"
        return Facts(usable=True, detail=detail, error_s=ERROR_S)

    def refusals(self, spec: LinkSpec) -> dict[str, str]:
        """Only what makes no sense."""
        return spec.problems()

    def apply(self, asked: Mapping[Direction, LinkSpec]) -> dict[Direction, Outcome]:
        """Tell the helper; what it isn't carrying yet, it is given."""
        outcomes: dict[Direction, Outcome] = {}
        good: dict[Direction, LinkSpec] = {}
        for direction, spec in asked.items():
            if wrong := self.refusals(spec):
                why = "; ".join(f"{name} {reason}" for name, reason in wrong.items())
                outcomes[direction] = _failure(direction, "shape", why)
            else:
                good[direction] = spec
        with self._guard:
            if self._later:  # what came before counts no more, what was to come won't
                self._later = {n: one for n, one in self._later.items() if one[0] not in good}
            try:
                outcomes |= self._told(good)
            except NetworkError as error:
                outcomes |= {one: Outcome(applied=None, error=error) for one in good}
            for direction, outcome in outcomes.items():
                if outcome.applied is not None:
                    self._asked[direction] = outcome.applied
        return {direction: outcomes[direction] for direction in asked}

    def planner(self) -> Planner:
        """The helper: it is told ahead, and makes changes between packets."""
        return self

    def play(
        self, mesh: str, parts: Mapping[Direction, Part]
    ) -> tuple[dict[Direction, Outcome], list[Played]]:
        """See `Planner`. What a helper that ends was told is lost with it."""
        with self._guard:
            now = {d: part.now for d, part in parts.items() if part.now is not None}
            outcomes = self.apply(now) if now else {}
            later = [(d, one) for d, part in parts.items() for one in part.later]
            try:
                played = self._told_later(mesh, later) if self._find() else []
            except Lost:
                self._carried.clear()
                played = []
            return outcomes, played

    def _told_later(self, mesh: str, later: Sequence[tuple[Direction, Later]]) -> list[Played]:
        played: list[Played] = []
        for start in range(0, max(1, len(later)), protocol.LATER_A_REQUEST):
            part = later[start : start + protocol.LATER_A_REQUEST]
            places = {direction: n for n, direction in enumerate(dict(part))}
            to_come = tuple(
                protocol.ToCome(way=places[d], number=x.number, at_s=x.at_s, spec=x.spec)
                for d, x in part
            )
            traces: dict[str, int] = {}
            try:
                self._open_traces((x.spec for _, x in part), traces)
                request = protocol.Request(
                    kind="plan", directions=tuple(places), later=to_come, mesh=mesh,
                    traces=tuple(traces),
                )  # fmt: skip
                self._later |= {x.number: (d, x.spec) for d, x in part}
                answer = self._helper.ask(request, [*traces.values()])
            finally:
                for descriptor in traces.values():
                    os.close(descriptor)
            played += [self._came(one) for one in answer.came]
        self._forget_passed()
        return played

    def _came(self, one: protocol.Came) -> Played:
        found = self._later.pop(one.number, None)
        if found is None or one.carried:
            if found is not None and found[0] in self._asked:
                self._asked[found[0]] = found[1]
            return Played(one.number, one.at_s)
        self._carried.pop(found[0], None)
        error = NetworkError("tun", "shape", str(found[0]), "it isn't carried", recoverable=True)
        return Played(one.number, one.at_s, error)

    def _forget_passed(self) -> None:
        """What never came was taken back, or others came in its place."""
        while len(self._later) > _MOST_LATER:
            self._later.pop(next(iter(self._later)))

    def read(self, directions: Iterable[Direction]) -> dict[Direction, LinkSpec]:
        """What the helper does to them; those that it doesn't carry pass nothing, or others do."""
        wanted = tuple(directions)
        found = {one.direction: one for one in self._seen("read", wanted)}
        return {
            one: found[one].spec or LinkSpec() if one in found else LinkSpec() for one in wanted
        }

    def counters(self, directions: Collection[Direction]) -> dict[Direction, Counters]:
        """What the helper counted; since another one was started, if that was needed."""
        seen = self._seen("count", tuple(directions))
        overruns = ends.overruns(one.direction for one in seen)
        counted = {one.direction: one.counters for one in seen if one.counters is not None}
        return {
            direction: replace(found, dropped={**found.dropped, "overrun": overruns[direction]})
            if overruns.get(direction)
            else found
            for direction, found in counted.items()
        }

    def health(self, directions: Collection[Direction]) -> Health | None:
        """What the helper counted of one mesh, and what its devices dropped before it came."""
        mesh = next((direction.mesh for direction in directions), "")
        with self._guard:
            try:
                if not mesh or not self._find():
                    return None
                answer = self._helper.ask(protocol.Request(kind="health", mesh=mesh))
            except Lost:
                return None
        pulse = answer.pulse or protocol.Pulse()
        lost = sum(ends.overruns(directions).values())
        return Health(pid=answer.pid, overruns=lost, **asdict(pulse))

    def forget(self, mesh: str, keep: Collection[Direction] = ()) -> None:
        """Have the helper let go of devices: while it has them open, their namespaces live."""
        with self._guard:
            kept = set(keep)
            for known in (self._asked, self._carried):
                for direction in [one for one in known if one.mesh == mesh and one not in kept]:
                    del known[direction]
            try:
                if self._find():
                    request = protocol.Request(kind="forget", mesh=mesh, directions=tuple(kept))
                    self._helper.ask(request)
            except Lost:
                self._carried.clear()

    def lost(self) -> dict[str, float]:
        """Mesh -> for how many seconds its links passed nothing since this was last asked.

        That is the time from the end of a helper until the next carried its links.
        """
        with self._noting:  # not the other lock: nobody shall wait for who tells a helper
            lost, self._lost = self._lost, {}
        return lost

    def close(self) -> None:
        """Watch over the helper no more; it goes on."""
        if self._closed.is_set():
            return
        self._closed.set()
        os.eventfd_write(self._wake, 1)
        with self._guard:
            self._helper.hang_up()
            watcher = self._watcher
        if watcher is not None:
            watcher.join()
        os.close(self._wake)

    def end(self) -> None:
        """End the helper: nothing passes any more."""
        self.close()
        self._helper.end()

    # --- the helper -------------------------------------------------------------------------------

    def _find(self) -> bool:
        """Whether there is a helper; one that was found says what it does."""
        before = self._helper.pid
        try:
            there = self._helper.find()
        except Lost:
            there = False
        if there and self._helper.pid != before:
            self._adopt()
        return there

    def _have(self) -> None:
        before = self._helper.pid
        self._helper.start()
        if self._helper.pid != before:
            self._adopt()

    def _adopt(self) -> None:
        """Take over what a helper does, whoever told it; watch over it."""
        self._carried.clear()
        answer = self._helper.ask(protocol.Request(kind="read", everything=True))
        for one in answer.found:
            if one.spec is not None:
                self._carried[one.direction] = one.inodes
                self._asked.setdefault(one.direction, one.spec)
        self._watch_over()

    def _seen(self, kind: protocol.Kind, wanted: tuple[Direction, ...]) -> list[protocol.Found]:
        """What the helper says of directions that it carries, in the namespaces of today."""
        with self._guard:
            try:
                if not wanted or not self._find():
                    return []
                answer = self._helper.ask(protocol.Request(kind=kind, directions=wanted))
            except Lost:
                return []
        today = ends.Today()
        return [
            one
            for one in answer.found
            if one.spec is not None and one.inodes == today.inodes(one.direction)
        ]

    # --- telling it -------------------------------------------------------------------------------

    def _told(self, asked: Mapping[Direction, LinkSpec]) -> dict[Direction, Outcome]:
        outcomes: dict[Direction, Outcome] = {}
        for _ in range(_ATTEMPTS):
            left = {one: spec for one, spec in asked.items() if one not in outcomes}
            if not left:
                break
            try:
                self._have()
                self._tell(left, outcomes)
            except Lost:
                self._carried.clear()
        gone = "the helper of links ends again and again"
        return {one: outcomes.get(one) or _failure(one, "shape", gone) for one in asked}

    def _tell(
        self, asked: Mapping[Direction, LinkSpec], outcomes: dict[Direction, Outcome]
    ) -> None:
        """Tell it in parts; what it says it doesn't carry is left to be told again."""
        today = ends.Today()
        links: dict[ends.Link, dict[Direction, LinkSpec]] = {}
        for direction, spec in asked.items():
            links.setdefault(ends.link_of(direction), {})[direction] = spec
        fresh = [
            link
            for link, parts in links.items()
            if any(self._carried.get(one, None) != today.inodes(one) for one in parts)
        ]
        if fresh:
            self._add_other_ways(links, set(fresh))
        todo = list(links)
        new = set(fresh)
        for start in range(0, len(todo), protocol.LINKS_A_REQUEST):
            part = {link: links[link] for link in todo[start : start + protocol.LINKS_A_REQUEST]}
            self._tell_part(part, new & set(part), outcomes)

    def _add_other_ways(
        self, links: dict[ends.Link, dict[Direction, LinkSpec]], fresh: set[ends.Link]
    ) -> None:
        """What was asked of the other direction is told with the first."""
        for direction, spec in self._asked.items():
            link = ends.link_of(direction)
            if link in fresh:
                links[link].setdefault(direction, spec)

    def _tell_part(
        self,
        links: Mapping[ends.Link, Mapping[Direction, LinkSpec]],
        fresh: Collection[ends.Link],
        outcomes: dict[Direction, Outcome],
    ) -> None:
        opened = ends.open_all({link: links[link] for link in fresh})
        traces: dict[str, int] = {}
        try:
            settings, attach = [], []
            descriptors: list[int] = []
            for link, parts in links.items():
                try:
                    found = opened.get(link)
                    if isinstance(found, NetworkError):
                        raise found
                    self._open_traces(parts.values(), traces)
                except NetworkError as error:
                    outcomes |= {
                        one: _failure(one, "shape", str(error), recoverable=error.recoverable)
                        for one in parts
                    }
                    continue
                if found is not None:
                    attach.append(found.attach)
                    descriptors += found.descriptors
                settings += [protocol.Setting(direction=d, spec=s) for d, s in parts.items()]
            request = protocol.Request(
                kind="set", attach=tuple(attach), settings=tuple(settings), traces=tuple(traces)
            )
            answer = self._helper.ask(request, [*descriptors, *traces.values()])
        finally:
            ends.close_all(opened)
            for descriptor in traces.values():
                os.close(descriptor)
        for one in answer.found:
            self._note(one, outcomes)

    def _open_traces(self, specs: Iterable[LinkSpec], into: dict[str, int]) -> None:
        """Open the files of traces whose opportunities are asked for; raises `NetworkError`."""
        for spec in specs:
            if spec.delivery is not None and spec.delivery.trace not in into:
                into[spec.delivery.trace] = schedules.opened(self._traces, spec.delivery.trace)

    def _note(self, one: protocol.Found, outcomes: dict[Direction, Outcome]) -> None:
        if one.spec is None:
            self._carried.pop(one.direction, None)
        else:
            self._carried[one.direction] = one.inodes
            outcomes[one.direction] = Outcome(applied=one.spec)

    # --- watching over it -------------------------------------------------------------------------

    def _watch_over(self) -> None:
        watched = self._helper.watch()
        if watched is not None:
            pulse = Watched(self._helper.path, self._helper.pid)
            args = (watched, self._helper.pid, pulse)
            self._watcher = threading.Thread(
                target=self._watch, args=args, name="otter-links", daemon=True
            )
            self._watcher.start()

    def _watch(self, watched: int, pid: int, pulse: Watched) -> None:
        """Have another helper when this one ends or hangs, if it had links."""
        began = time.monotonic()
        try:
            self._wait_for_end(watched, pid, pulse)
        finally:
            os.close(watched)
            pulse.close()
        gone = self._helper.hung.pop(pid, time.monotonic())
        if gone - began >= _STEADY_S:
            self._failures = 0
        while not self._closed.wait(_PAUSES_S[min(self._failures, len(_PAUSES_S) - 1)]):
            self._failures += 1
            with self._guard:
                if self._closed.is_set() or not self._asked or self._tell_again(pid):
                    break
        with self._guard:
            meshes = {direction.mesh for direction in self._asked}
        gap_s = time.monotonic() - gone
        with self._noting:
            self._lost |= {mesh: self._lost.get(mesh, 0.0) + gap_s for mesh in meshes}

    def _wait_for_end(self, watched: int, pid: int, pulse: Watched) -> None:
        """Returns when it has ended or this driver is closed; one that hangs is killed."""
        poll = select.poll()
        for descriptor in (watched, self._wake):
            poll.register(descriptor, select.POLLIN)
        while not poll.poll(_LOOK_MS):
            if pulse.hangs(time.monotonic()):
                # Who waits for its answer, with the lock, is told by the end of the connection.
                self._helper.hung[pid] = pulse.last_s
                signal.pidfd_send_signal(watched, signal.SIGKILL)
                poll.poll()
                return

    def _tell_again(self, pid: int) -> bool:
        """Tell a new helper all that was asked; false: there is none yet."""
        if self._helper.pid == pid:
            self._helper.hang_up()
            self._carried.clear()
        try:
            self._have()
            outcomes = self._told({d: s for d, s in self._asked.items() if d not in self._carried})
        except (NetworkError, Lost):
            return False
        # What can't be had is no longer there: its namespace is gone.
        return all(one.error is None or not one.error.recoverable for one in outcomes.values())


def _failure(direction: Direction, op: str, why: str, *, recoverable: bool = False) -> Outcome:
    error = NetworkError("tun", op, str(direction), why, recoverable=recoverable)
    return Outcome(applied=None, error=error)
