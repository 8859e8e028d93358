"""`LinkBook`: what is asked in three layers comes into force, is kept, and reverts by itself."""

from __future__ import annotations

import asyncio
import random
import re
import threading
import time
from collections.abc import AsyncIterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest

from net.links.changes import Change, in_force
from net.links.spec import LinkSpec
from otter_agent import api
from otter_agent.errors import AgentError, NetworkError
from otter_agent.links.asking import resolve
from otter_agent.links.book import LinkBook
from otter_agent.links.choose import Choice
from otter_agent.links.fake import FakeLinks
from otter_agent.links.leases import Moment
from otter_agent.links.ways import Way
from otter_agent.state import State

RADIO = LinkSpec(delay_s=0.02, rate_bps=2e7)
SPEC = api.MeshSpec(
    name="m",
    run="r",
    hosts=tuple(api.HostSpec(name=n, address="100.64.0.1", block="100.64.0.0/24") for n in "abc"),
    links=(
        api.Link(name="radio", a="a", b="b", forward=RADIO, reverse=RADIO),
        api.Link(name="wire", a="b", b="c", forward=LinkSpec(), reverse=LinkSpec()),
        api.Link(name="down", a="a", b="c", forward=LinkSpec(loss_ratio=0.1)),
    ),
)
AB, BA = Way("radio", "a", "b"), Way("radio", "b", "a")
BC = Way("wire", "b", "c")


class Tuns(FakeLinks):
    """As the one in user space: links need devices of its own."""

    device_kind = "tun"


class Queues(FakeLinks):
    """As the kernel's: takes what TCP hands over at once for one packet."""

    cuts_nothing = True


class World:
    """A book, its driver, and all that it tells."""

    def __init__(self, path: Path, driver: FakeLinks | None = None) -> None:
        self.driver = driver or FakeLinks()
        self.state = State(path)
        self.events: list[tuple[str, str, str, str, dict[str, Any]]] = []
        self.heard = asyncio.Event()
        self.wall = 1000.0
        self.remade = 0
        self.book = self.open()

    def open(self, spec: api.MeshSpec = SPEC) -> LinkBook:
        """As an agent does that starts."""
        choice = Choice(driver=self.driver)
        book = LinkBook(choice, "id", spec, self.state, self.tell, self.now)
        book.remake = self.remake
        return book

    def now(self) -> Moment:
        return Moment(boot="b", boot_s=self.wall, wall_s=self.wall)

    def tell(self, kind: str, subject: str, text: str, state: str = "", data: Any = None) -> None:
        self.events.append((kind, subject, text, state, data))
        self.heard.set()

    async def remake(self) -> None:
        self.remade += 1
        await asyncio.to_thread(self.make)

    def make(self) -> None:
        """As `Network.converge` does."""
        self.book.kinds()
        self.book.let_go(shaped_only=False)
        self.book.devices_are_there()
        self.book.let_go(shaped_only=True)

    async def shape(self, *changes: api.LinkChange) -> list[Way]:
        return await self.book.shape(resolve(changes, self.book.all(), "m"), "me")

    def done(self) -> Mapping[str, LinkSpec]:
        """What the driver has been asked."""
        return {f"{d.link}:{d.source}>{d.target}": s for d, s in self.driver.done.items()}


@pytest.fixture
def world(tmp_path: Path) -> World:
    made = World(tmp_path / "state.db")
    made.make()
    return made


def change(link: str = "*", **values: Any) -> api.LinkChange:
    return api.LinkChange(link=link, set=values)


def test_what_the_topology_asks_is_in_force(world: World) -> None:
    assert world.done() == {
        "radio:a>b": RADIO, "radio:b>a": RADIO, "wire:b>c": LinkSpec(), "wire:c>b": LinkSpec(),
        "down:a>c": LinkSpec(loss_ratio=0.1),
    }  # fmt: skip
    status = {str((s.name, s.from_)): s for s in world.book.statuses()}
    assert status["('radio', 'a')"].asked == {"delay_s": 0.02, "rate_bps": 2e7}
    assert status["('radio', 'a')"].applied == {"delay_s": 0.02, "rate_bps": 2e7}
    assert (status["('radio', 'a')"].driver, status["('wire', 'b')"].driver) == ("fake", "none")


async def test_by_hand_only_what_is_named(world: World) -> None:
    named = await world.shape(api.LinkChange(link="radio", direction="a>b", set={"delay_s": 0.05}))
    assert named == [AB]
    assert world.done()["radio:a>b"] == replace(RADIO, delay_s=0.05)
    assert world.done()["radio:b>a"] == RADIO
    kind, subject, text, state, data = world.events[-1]
    assert (kind, subject, state) == ("link", "radio:a>b", "changed")
    assert text == "shape: delay 50ms (by me); in force: delay 50ms, rate 20mbit"
    assert data == {
        "layer": "shape",
        "requested": {"delay_s": 0.05},
        "applied": {"delay_s": 0.05, "rate_bps": 2e7},
    }


async def test_without_a_name_all_links(world: World) -> None:
    assert len(await world.shape(change(up=False))) == 5
    assert {s.up for s in world.done().values()} == {False}


async def test_layers(world: World) -> None:
    await world.shape(change("radio", delay_s=0.3))
    outcomes = await world.book.change("timeline", {AB: Change.of(delay_s=0.1, rate_bps=1e6)})
    assert outcomes[AB].applied == LinkSpec(delay_s=0.3, rate_bps=1e6)
    await world.book.change("timeline", {AB: Change.of(loss_ratio=0.2)}, instead=True)
    assert world.done()["radio:a>b"] == LinkSpec(delay_s=0.3, rate_bps=2e7, loss_ratio=0.2)
    await world.shape(api.LinkChange(link="radio", reset=True))
    assert world.done()["radio:a>b"] == LinkSpec(delay_s=0.02, rate_bps=2e7, loss_ratio=0.2)
    status = world.book.status(AB)
    assert status.layers == {
        "topology": {"delay_s": 0.02, "rate_bps": 2e7},
        "timeline": {"loss_ratio": 0.2},
    }


async def test_what_is_quiet_is_not_told(world: World) -> None:
    await world.book.change("timeline", {AB: Change.of(delay_s=0.1)}, quiet=True)
    assert world.events == []
    assert world.done()["radio:a>b"].delay_s == 0.1


async def test_a_change_that_changes_nothing_asks_no_driver(world: World) -> None:
    await world.shape(change("radio", delay_s=0.3))
    calls = world.driver.calls
    await world.book.change("timeline", {AB: Change.of(delay_s=0.1)})
    await world.shape(change("radio", delay_s=0.3))
    assert world.driver.calls == calls


async def test_another_topology_keeps_what_was_done_by_hand(world: World) -> None:
    await world.shape(change("*", delay_s=0.3))
    slower = api.Link(name="radio", a="a", b="b", forward=replace(RADIO, rate_bps=1e6))
    world.book.take(msgspec.structs.replace(SPEC, links=(slower,)))
    world.book.bring_into_force()
    assert world.done()["radio:a>b"] == LinkSpec(delay_s=0.3, rate_bps=1e6)
    assert [str(Way(*k)) for k in world.state.shapes("m")] == ["radio:a>b"]


# --- kept ----------------------------------------------------------------------------------------


async def test_a_new_agent_goes_on_with_what_was_done_by_hand(world: World) -> None:
    await world.shape(change("radio", delay_s=0.3))
    world.driver.done.clear()
    world.book = world.open()
    world.make()
    assert world.done()["radio:a>b"] == replace(RADIO, delay_s=0.3)


async def test_a_lease_that_ended_while_no_agent_ran(world: World) -> None:
    await world.shape(api.LinkChange(link="radio", set={"delay_s": 0.3}, for_s=30.0))
    assert world.book.status(AB).reverts_in_s == 30.0
    world.wall += 31
    world.book = world.open()
    world.make()
    assert world.done()["radio:a>b"] == RADIO
    async with running(world):
        await told(world, "ended")
    assert world.state.shapes("m") == {}


async def test_a_lease_reverts_by_itself(tmp_path: Path) -> None:
    world = World(tmp_path / "state.db")
    world.make()
    async with running(world):
        await world.shape(change("radio", loss_ratio=0.5))
        await world.shape(api.LinkChange(link="radio", set={"delay_s": 0.3}, for_s=0.05))
        assert world.done()["radio:a>b"] == replace(RADIO, delay_s=0.3, loss_ratio=0.5)
        world.wall += 0.06
        await told(world, "ended")
        assert world.done()["radio:a>b"] == replace(RADIO, loss_ratio=0.5)
    assert any("delay 300ms is over; in force: delay 20ms" in e[2] for e in world.events)


@asynccontextmanager
async def running(world: World) -> AsyncIterator[None]:
    async with asyncio.TaskGroup() as group:
        task = group.create_task(world.book.run())
        try:
            yield
        finally:
            task.cancel()


async def told(world: World, state: str) -> None:
    async with asyncio.timeout(10):
        while not any(event[3] == state for event in world.events):
            world.heard.clear()
            await world.heard.wait()


@pytest.mark.slow
async def test_any_calls_end_in_exactly_what_was_asked_last(world: World) -> None:
    rng = random.Random(7)
    model: dict[Way, Change] = {}
    for _ in range(10_000):
        link = rng.choice(["radio", "wire", "down", "*", "r*"])
        values = {
            name: draw()
            for name, draw in {
                "delay_s": lambda: rng.randint(1, 300) / 1000,
                "loss_ratio": lambda: rng.random() / 2,
                "rate_bps": lambda: rng.choice([None, 1e6, 1e7]),
                "queue_packets": lambda: rng.randint(1, 100),
                "queue_s": lambda: 0.05,
                "up": lambda: rng.random() < 0.9,
            }.items()
            if rng.random() < 0.3
        }
        if "queue_s" in values:
            values.pop("queue_packets", None)
        reset = rng.random() < 0.05
        for way in await world.shape(api.LinkChange(link=link, set=values, reset=reset)):
            before = Change() if reset else model.get(way, Change())
            model[way] = before.then(Change.of(**values))
    base = {str(w): world.book.below(w, "timeline") for w in world.book.all()}
    expected = {str(w): in_force(base[str(w)], model.get(w, Change())) for w in world.book.all()}
    assert world.done() == expected
    world.driver.done.clear()
    world.book = world.open()
    world.make()
    assert world.done() == expected


@pytest.mark.slow
async def test_calls_at_once_end_in_what_was_asked_last(world: World) -> None:
    async with asyncio.TaskGroup() as group:
        for n in range(1, 200):
            group.create_task(world.shape(change("radio", delay_s=n / 1000)))
    assert world.done()["radio:a>b"] == world.book.asked(AB) == replace(RADIO, delay_s=0.199)


async def test_a_caller_that_goes_away_undoes_nothing(world: World) -> None:
    busy = threading.Event()
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(1))
    async with asyncio.TaskGroup() as group:
        group.create_task(asyncio.to_thread(busy.wait))  # so that the driver's thread hasn't begun
        call = group.create_task(world.shape(change("radio", delay_s=0.3)))
        await asyncio.sleep(0)
        call.cancel()
        await asyncio.sleep(0)
        busy.set()
    await world.shape(change("wire", delay_s=0.1))
    assert world.done()["radio:a>b"] == replace(RADIO, delay_s=0.3)


# --- refused -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "code", "text"),
    [
        (change("nowhere", delay_s=0.1), "not-found", "no link 'nowhere' in mesh m"),
        (change("x*", delay_s=0.1), "not-found", "no link 'x*'"),
        (api.LinkChange(link="down", direction="c>a"), "not-found", "no direction 'c>a'"),
        (api.LinkChange(link="radio", direction="a-b"), "not-found", "no direction 'a-b'"),
        (change("radio", colour=1), "bad-request", "no property 'colour'"),
        (change("radio", delay_s=-1.0), "bad-request", "radio:a>b: delay must be between"),
        (change("radio", delay_s=float("nan")), "bad-request", "delay must be a finite number"),
        (change("radio", delay_s="20ms"), "bad-request", "delay_s"),
        (change("radio", delay_s=True), "bad-request", "delay must be a number"),
        (change("radio", up=1), "bad-request", "up must be true or false"),
        (change("radio", loss_ratio=1.01), "bad-request", "loss must be between 0% and 100%"),
        (change("radio", rate_bps=0), "bad-request", "rate must be above 0"),
        (change("radio", rate_bps=2.0**60), "bad-request", "rate must be above 0 and at most"),
        (change("radio", queue_packets=2**63), "bad-request", "at most 10^9 packets"),
        (change("radio", queue_bytes=2**90), "bad-request", "at most 1TiB"),
        (change("radio", queue_s=1e300), "bad-request", "queue must be above 0 and at most 1h"),
        (change("radio", jitter_s=0.5), "bad-request", "jitter must not be above the delay"),
        (change("radio", loss_gilbert=[0.1]), "bad-request", "must be 4 numbers"),
        (change("radio", queue_s=1.0, queue_bytes=1), "bad-request", "a queue has one size"),
        (api.LinkChange(link="radio", for_s=0.0), "bad-request", "no time after which"),
        (api.LinkChange(link="radio", for_s=1e9), "bad-request", "no time after which"),
        (api.LinkChange(link="radio", for_s=float("nan")), "bad-request", "no time after which"),
    ],
)
async def test_what_cannot_be(world: World, asked: api.LinkChange, code: str, text: str) -> None:
    before = world.done()
    with pytest.raises(AgentError, match=re.escape(text)) as refused:
        await world.shape(change("wire", delay_s=0.1), asked)
    assert refused.value.code == code
    assert world.done() == before  # all or nothing
    assert world.state.shapes("m") == {}


async def test_what_the_driver_cannot_do_is_refused_by_name(world: World) -> None:
    world.driver.refuses = {"ecn": "it can't mark"}
    with pytest.raises(AgentError, match="radio:a>b: ecn: fake: it can't mark") as refused:
        await world.shape(change("radio", queue_discipline="codel", ecn=True))
    assert refused.value.code == "unsupported-link"


async def test_or_left_out_and_told_where_that_is_allowed(world: World) -> None:
    world.driver.refuses = {"ecn": "it can't mark"}
    world.book.take(msgspec.structs.replace(SPEC, allow_degraded=True))
    await world.shape(change("radio", queue_discipline="codel", ecn=True))
    assert world.done()["radio:a>b"] == replace(RADIO, queue_discipline="codel")
    assert world.book.status(AB).lacks == {"ecn": "fake: it can't mark"}


async def test_a_driver_that_fails_is_told_of(world: World) -> None:
    world.driver.fails = {"radio": "somebody else's qdisc"}
    await world.shape(change("radio", delay_s=0.3))
    status = world.book.status(AB)
    assert "somebody else's qdisc" in status.error
    assert status.applied == {"delay_s": 0.02, "rate_bps": 2e7}
    assert world.events[-1][3] == "failed"
    with pytest.raises(NetworkError, match="somebody else's qdisc"):
        world.book.bring_into_force()
    world.driver.fails = {}
    world.book.bring_into_force()
    assert world.book.status(AB).error == ""
    assert world.done()["radio:a>b"].delay_s == 0.3


@pytest.mark.slow
async def test_changes_that_wait_for_their_end_are_bounded(world: World) -> None:
    for n in range(64):
        await world.shape(api.LinkChange(link="radio", set={"delay_s": 0.3}, for_s=1000.0 - n))
    with pytest.raises(AgentError, match="64 changes wait for their end"):
        await world.shape(api.LinkChange(link="radio", set={"delay_s": 0.3}, for_s=1.0))
    await world.shape(api.LinkChange(link="radio", reset=True))
    assert world.done()["radio:a>b"] == RADIO


async def test_a_failure_is_to_be_tried_again(world: World) -> None:
    tries: list[str] = []
    world.book.failed = lambda: tries.append("again")
    await world.shape(change("radio", delay_s=0.2))
    assert tries == []
    world.driver.fails = {"radio": "busy"}
    await world.shape(change("radio", delay_s=0.3))
    assert tries == ["again"]


async def test_another_driver_is_told_all_of_it(world: World) -> None:
    await world.shape(change("radio", delay_s=0.3))
    other = FakeLinks()
    world.book.take(SPEC, Choice(driver=other))
    assert world.book.status(AB).applied is None
    world.driver = other
    world.make()
    assert world.done()["radio:a>b"] == replace(RADIO, delay_s=0.3)


async def test_what_sends_is_told_when_packets_have_to_be_cut(tmp_path: Path) -> None:
    world = World(tmp_path / "state.db", Queues())
    told: list[bool] = []

    async def cut(shaped: bool) -> None:
        told.append(shaped)

    world.book.cut = cut
    world.make()
    await world.book.see_to_cutting()
    assert told == [True]
    free = tuple(msgspec.structs.replace(x, forward=LinkSpec(), reverse=None) for x in SPEC.links)
    world.book.take(msgspec.structs.replace(SPEC, links=free))
    await world.shape(change("radio", delay_s=0.3))
    assert told == [True]
    await world.shape(api.LinkChange(reset=True))
    assert told == [True, False]


# --- devices -------------------------------------------------------------------------------------


async def test_a_link_gets_the_devices_it_needs_when_it_is_first_changed(tmp_path: Path) -> None:
    world = World(tmp_path / "state.db", Tuns())
    assert world.book.kinds() == {"radio": "tun", "down": "tun"}
    world.make()
    assert set(world.done()) == {"radio:a>b", "radio:b>a", "down:a>c"}
    await world.shape(change("radio", delay_s=0.1))
    assert world.remade == 0
    await world.shape(change("wire", delay_s=0.1))
    assert world.remade == 1
    assert world.done()["wire:b>c"] == LinkSpec(delay_s=0.1)
    await world.shape(api.LinkChange(link="wire", reset=True))
    assert (world.remade, world.done()["wire:b>c"]) == (1, LinkSpec())  # not to and fro
    world.make()
    assert "wire:b>c" not in world.done()


async def test_links_that_will_be_changed_have_their_devices_before(tmp_path: Path) -> None:
    world = World(tmp_path / "state.db", Tuns())
    world.book.expect(["wire", "unknown"])
    world.make()
    await world.book.change("timeline", {Way("wire", "b", "c"): Change.of(delay_s=0.1)})
    assert world.remade == 0
    assert world.done()["wire:b>c"] == LinkSpec(delay_s=0.1)


async def test_no_device_is_made_for_a_mesh_that_goes(tmp_path: Path) -> None:
    world = World(tmp_path / "state.db", Tuns())
    world.make()
    world.book.close()
    world.driver.forget("m")
    await world.shape(change("wire", delay_s=0.1))
    assert world.done() == {}
    assert "being destroyed" in world.book.status(Way("wire", "b", "c")).error


async def test_before_the_network_is_there_nothing_is_in_force(tmp_path: Path) -> None:
    world = World(tmp_path / "state.db")
    await world.shape(change("radio", delay_s=0.3))
    assert world.driver.calls == 0
    assert world.book.status(AB).applied is None
    assert "not in force yet" in world.events[0][2]
    world.make()
    assert world.done()["radio:a>b"].delay_s == 0.3


async def test_another_driver_has_its_say_once_its_devices_are_there(world: World) -> None:
    before, world.driver = world.driver, Tuns()
    world.book.take(SPEC, Choice(driver=world.driver))
    await world.shape(change("radio", delay_s=0.05))
    assert world.done() == {}
    assert before.done  # until then the old one's devices carry the packets
    world.make()
    assert world.done()["radio:a>b"].delay_s == 0.05
    assert before.done == {}
    assert before.calls == 1


async def test_what_is_just_being_asked_for_is_not_missed(world: World) -> None:
    """Looked at between the asking and the driver's being told, it was told as lost."""
    loop, read, apply = asyncio.get_running_loop(), world.driver.read, world.driver.apply
    changes: list[Any] = []
    looked = threading.Event()

    def reading(directions: Any) -> Any:
        found = read(directions)
        work = world.book.change("timeline", {BC: Change.of(delay_s=0.05)})
        changes.append(asyncio.run_coroutine_threadsafe(work, loop))
        while world.book.asked(BC).delay_s is None:
            time.sleep(0.001)
        return found

    def applying(asked: Any) -> Any:
        looked.wait(20)
        return apply(asked)

    world.driver.read = reading  # type: ignore[method-assign]
    world.driver.apply = applying  # type: ignore[method-assign]
    failures: list[None] = []
    world.book.failed = lambda: failures.append(None)
    await world.book.look_again()
    looked.set()
    await asyncio.wrap_future(changes[0])
    assert not failures
    assert not [event for event in world.events if event[3] == "failed"]
    assert world.done()["wire:b>c"] == LinkSpec(delay_s=0.05)
