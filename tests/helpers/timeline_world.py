"""An agent's links with the fake driver, its memory and its clock, and what plays over them."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from net.links.spec import LinkSpec
from net.links.traces.codec import encode
from net.links.traces.trace import Trace
from otter_agent import api
from otter_agent.budgets.book import BudgetBook
from otter_agent.links import clock
from otter_agent.links.book import LinkBook
from otter_agent.links.choose import Choice
from otter_agent.links.fake import FakeLinks
from otter_agent.links.leases import Moment
from otter_agent.links.ways import Way
from otter_agent.state import State
from otter_agent.timeline.around import Around
from otter_agent.timeline.player import Player
from otter_agent.timeline.runs import Runs
from otter_agent.timeline.workers import Workers

FORTH, BACK = Way("radio", "phone", "edge"), Way("radio", "edge", "phone")
BASE = LinkSpec(delay_s=0.02, rate_bps=20e6)
DEADLINE_S = 20.0


def spec(*events: api.TimelineEvent, traces: tuple[api.TraceUse, ...] = ()) -> api.MeshSpec:
    hosts = tuple(
        api.HostSpec(name=name, address=f"100.64.{n}.1", block=f"100.64.{n}.0/24")
        for n, name in enumerate(("phone", "edge"))
    )
    return api.MeshSpec(
        name="m",
        run="r",
        hosts=hosts,
        links=(api.Link(name="radio", a="phone", b="edge", forward=BASE, reverse=BASE),),
        timeline=api.TimelineSpec(events=events, traces=traces),
    )


def event(at_s: float, *, text: str = "", **more: Any) -> api.TimelineEvent:
    kept = {k: more.pop(k) for k in ("for_s", "every_s", "ramp_s", "reset") if k in more}
    return api.TimelineEvent(
        at_s=at_s, both=("radio",), change=more, text=text or f"radio: {more}", **kept
    )


class Unhurried:
    """A clock that stands still while the machine is busy with others: it never leaps."""

    def __init__(self, most_s: float) -> None:
        self._most_s, self._behind_s, self._shown = most_s, 0.0, clock.now()

    def __call__(self) -> Moment:
        now = clock.now().after(-self._behind_s)
        leap_s = max(0.0, self._shown.until(now) - self._most_s)
        self._behind_s += leap_s
        self._shown = now.after(-leap_s)
        return self._shown


class World:
    """An agent's links, its memory and its clock.

    Attributes:
        plans: Whether the driver is told ahead what is to come.
    """

    plans = False

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.state = State(folder / "state.sqlite")
        self.driver = FakeLinks(plans=self.plans)
        self.told: list[tuple[Any, ...]] = []
        self.blobs: dict[str, bytes] = {}
        self.skew_s = 0.0
        self.now: Callable[[], Moment] = lambda: clock.now().after(self.skew_s)
        self.links: LinkBook

    def tell(self, *said: Any, **more: Any) -> None:
        self.told.append((*said, *more.values()))

    def read(self, digest: str) -> bytes:
        try:
            return self.blobs[digest]
        except KeyError:
            raise FileNotFoundError(2, "No such file or directory") from None

    def player(self, mesh: api.MeshSpec) -> Player:
        choice = Choice(driver=self.driver)
        self.links = LinkBook(choice, "a1", mesh, self.state, self.tell)
        return Player(
            mesh,
            Around(
                links=self.links,
                workers=Workers(
                    BudgetBook(None, mesh, self.state, self.tell), Runs(mesh.name, self.state)
                ),
                keep=self.state,
                read=self.read,
                tell=self.tell,
                file=self.folder / "timeline.csv",
                now=self.now,
            ),
        )

    @asynccontextmanager
    async def playing(self, mesh: api.MeshSpec) -> AsyncIterator[Player]:
        """As a keeper does it: what holds first, then the devices, then it plays."""
        player = self.player(mesh)
        await player.begin()
        self.links.kinds()
        await asyncio.to_thread(self.links.devices_are_there)
        async with asyncio.TaskGroup() as group:
            task = group.create_task(player.run())
            try:
                yield player
            finally:
                task.cancel()

    def in_force(self, way: Way = FORTH) -> LinkSpec | None:
        found = [s for d, s in self.driver.done.items() if (d.source, d.target) == way[1:]]
        return found[0] if found else None

    def upload(self, trace: Trace) -> str:
        data = encode(trace)
        digest = hashlib.sha256(data).hexdigest()
        self.blobs[digest] = data
        return digest


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(DEADLINE_S):
        while not condition():
            await asyncio.sleep(0.001)
