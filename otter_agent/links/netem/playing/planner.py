"""The agent's end of the helper that plays changes: lends it directions, tells what is to come.

A direction has one writer: while it is lent the helper changes it, and the driver takes it back
before it changes anything of it. Not lent are directions whose part of a medium changes (weight,
capacity, queue): that is a change of what all share, so a thread of the agent makes it
(`links.planning`). What members have of their own (up or down, delay, losses) is.
"""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from net.links.spec import LinkSpec
from otter_agent.errors import NetworkError
from otter_agent.links.base import Direction, Outcome
from otter_agent.links.helper import Helper, Kind, Lost
from otter_agent.links.netem.playing import protocol
from otter_agent.links.netem.playing.protocol import Answer, Came, Lent, Pulse, Request, ToCome
from otter_agent.links.planner import Later, Part, Planner, Played

_HELPER = Kind(
    driver="netem", package="otter_agent.links.netem.playing", mark=protocol.MARK,
    hello=Request(kind="read"), bye=Request(kind="end"), reply=Answer,
)  # fmt: skip
_MOST_LATER = 20_000
"""Changes to come that are remembered, to be known once they have come."""


class Driver(Protocol):
    """What it needs of `NetemDriver`."""

    def lend(
        self, wanted: Mapping[Direction, Sequence[LinkSpec]]
    ) -> tuple[list[Lent], dict[Direction, NetworkError]]:
        """Directions as they are, ready for what is to come; why not, where they aren't."""

    def shares_alike(self, direction: Direction, specs: Iterable[LinkSpec]) -> bool:
        """Whether a direction shares in all of these what it shares now, in the same way."""

    def played(self, direction: Direction, spec: LinkSpec, drops: int | None) -> None:
        """What is in force of one that is lent, and what its first qdisc dropped if it turned."""


class Players:
    """The helper, as far as directions are lent to it. Thread-safe.

    Args:
        folder: For its socket and its log.
        idle_s: How long it lives without anything to do.
        answer_s: How long it has to answer; one that hangs is killed.
    """

    def __init__(self, folder: Path, idle_s: float, answer_s: float) -> None:
        self._helper = Helper(_HELPER, folder / "netem.s", idle_s, answer_s)
        self._guard = threading.RLock()
        self._lent: set[Direction] = set()
        self._met = False
        self._closed = False

    @property
    def pid(self) -> int:
        """The helper's; 0: there is none."""
        return self._helper.pid

    @property
    def ready(self) -> bool:
        """Whether there is one, which hasn't ended since it was spoken to."""
        return self.pid != 0 and self._helper.is_there

    def be_ready(self) -> None:
        """Have a helper soon; whoever asks it for something waits for that, nobody else does."""
        if not self.ready:
            threading.Thread(target=self._start, name="otter-links-start", daemon=True).start()

    def _start(self) -> None:
        with self._guard, suppress(Lost, NetworkError):  # who asks it for something is told
            if not self._closed:
                self._have_one()

    def _have_one(self) -> None:
        if not self._lent and not self._helper.is_there:
            self._helper.hang_up()  # it had nothing to do and has ended: nothing is lost with it
        self._helper.start()

    def has(self, direction: Direction) -> bool:
        """Whether it is lent."""
        return direction in self._lent

    def take_back(self, directions: Iterable[Direction]) -> None:
        """From now on the helper changes nothing of these; it has ended, if it doesn't say so."""
        with self._guard:
            if not self._met:
                self._met = True
                self._tell(Request(kind="drop", everything=True))  # what another agent's life lent
            back = tuple(one for one in directions if one in self._lent)
            if back:
                self._lent.difference_update(back)
                self._tell(Request(kind="drop", directions=back))

    def forget(self, mesh: str) -> None:
        """Nothing of a mesh is lent, and its namespaces are let go of."""
        with self._guard:
            self._lent = {one for one in self._lent if one.mesh != mesh}
            self._tell(Request(kind="forget", mesh=mesh))

    def _tell(self, request: Request) -> None:
        """If there is a helper; one that has gone does nothing any more."""
        try:
            if self._helper.find():
                self._helper.ask(request)
        except Lost:
            self._lent.clear()

    def ask(self, request: Request, *, start: bool = True) -> Answer:
        """Have something done.

        Raises:
            Lost: Nothing that was lent or told before counts any more.
            NetworkError: There is no helper, and none can be started.
        """
        with self._guard:
            try:
                if start:
                    self._have_one()
                elif not self._helper.find():
                    self._lent.clear()
                    raise Lost("there is none")
                answer = self._helper.ask(request)
            except Lost:
                self._lent.clear()
                raise
            self._lent.update(one.direction for one in request.lent)
            return answer

    def pulse(self, mesh: str) -> tuple[int, Pulse | None]:
        """Of the helper: who it is, and how late packets are; None: it can't say."""
        try:
            answer = self.ask(Request(kind="health", mesh=mesh))
        except (Lost, NetworkError):
            return 0, None
        return answer.pid, answer.pulse

    def close(self) -> None:
        """Speak to it no more; it goes on."""
        with self._guard:
            self._closed = True
            self._helper.hang_up()
            self._lent.clear()

    def end(self) -> None:
        """End it; links stay as they are."""
        with self._guard:
            self._closed = True
            self._lent.clear()
            self._helper.end()


class NetemPlanner(Planner):
    """Plans with the helper what it can do, all else with a thread.

    Args:
        driver: Lends.
        players: The helper.
        thread: Calls the driver at the time of each change, and makes what is asked now.
    """

    def __init__(self, driver: Driver, players: Players, thread: Planner) -> None:
        self._driver = driver
        self._players = players
        self._thread = thread
        self._shared: set[Direction] = set()
        self._guard = threading.Lock()
        self._later: dict[int, tuple[Direction, LinkSpec]] = {}

    def expect(self) -> None:
        """See `Planner`."""
        self._players.be_ready()

    @property
    def ready(self) -> bool:
        """See `Planner`."""
        return self._players.ready

    def play(
        self, mesh: str, parts: Mapping[Direction, Part]
    ) -> tuple[dict[Direction, Outcome], list[Played]]:
        """See `Planner`."""
        at_once = {d: Part(p.now) for d, p in parts.items() if p.now is not None}
        self._shared.difference_update(at_once)
        outcomes, played = self._thread.play(mesh, at_once)
        failed = {d for d, outcome in outcomes.items() if outcome.error is not None}
        later = {d: p.later for d, p in parts.items() if p.later}
        self._note_sharing(later, failed)
        by_thread = {d: Part(None, these) for d, these in later.items() if d in self._shared}
        played += self._thread.play(mesh, by_thread)[1] if by_thread else []
        later = {d: these for d, these in later.items() if d not in failed | by_thread.keys()}
        with self._guard:
            return outcomes, [*played, *self._told(mesh, later)]

    def _note_sharing(
        self, later: Mapping[Direction, Sequence[Later]], failed: Collection[Direction]
    ) -> None:
        """Who will share otherwise is planned by the thread until it is set anew."""
        for direction, these in later.items():
            specs = [one.spec for one in these]
            if direction in failed:
                alike = all(spec.medium is None for spec in specs)
            else:
                alike = self._driver.shares_alike(direction, specs)
            if not alike:
                self._shared.add(direction)

    def _told(self, mesh: str, later: Mapping[Direction, Sequence[Later]]) -> list[Played]:
        has = self._players.has
        fresh = {d: [one.spec for one in these] for d, these in later.items() if not has(d)}
        lent, failed = self._driver.lend(fresh) if fresh else ([], {})
        every = [(d, one) for d, these in later.items() for one in these]
        told = [(d, one) for d, one in every if d not in failed]
        played = [Played(one.number, one.at_s, failed[d]) for d, one in every if d in failed]
        if not told and not self._later:
            return played
        try:
            for start in range(0, max(1, len(told)), protocol.LATER_A_REQUEST):
                some = told[start : start + protocol.LATER_A_REQUEST]
                played += self._ask(mesh, some, lent, start=bool(told))
                lent = []
        except Lost:
            self._later.clear()  # what it was told is lost with it, and will be asked for again
        return played

    def _ask(
        self, mesh: str, told: Sequence[tuple[Direction, Later]], lent: Sequence[Lent], *,
        start: bool,
    ) -> list[Played]:  # fmt: skip
        ways = {direction: n for n, direction in enumerate(dict(told))}
        later = tuple(
            ToCome(way=ways[d], number=one.number, at_s=one.at_s, spec=one.spec) for d, one in told
        )
        self._later.update((one.number, (d, one.spec)) for d, one in told)
        request = Request(
            kind="plan", mesh=mesh, directions=tuple(ways), later=later, lent=tuple(lent)
        )
        answer = self._players.ask(request, start=start)
        found = [self._came(one) for one in answer.came]
        while len(self._later) > _MOST_LATER:  # taken back, or others came in its place
            self._later.pop(next(iter(self._later)))
        return found

    def _came(self, one: Came) -> Played:
        direction, spec = self._later.pop(one.number, (None, None))
        if not one.code:
            if direction is not None and spec is not None and self._players.has(direction):
                self._driver.played(direction, spec, one.drops)
            return Played(one.number, one.at_s)
        error = NetworkError(
            "netem", "change the link", str(direction or "a link"), one.why, recoverable=True
        )
        if one.code > 0:
            error.errno = one.code
        return Played(one.number, one.at_s, error)
