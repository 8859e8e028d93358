"""How far images have come is told while they are sent: of how much, and by whom to whom."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from otter_agent import api
from otter_agent.api.parcels import pack
from otter_ctl.cli import transfers
from otter_ctl.images import delivering, giving
from otter_ctl.images.choosing import Job

LAYERS = {f"sha256:{letter * 64}": 40_000 for letter in "abcd"}
KEPT = 15_000
PIECE = 5_000


class Calls:
    """An agent that has an image, or lacks it but for a part of its first layer."""

    def __init__(self, machine):
        self.machine = machine
        self.loaded = []

    async def offer(self, reference):
        facts = tuple(api.LayerFact(diff_id=d, size_bytes=size) for d, size in LAYERS.items())
        return api.ImageOffer(reference=reference, id="i", kind="k", config="{}", layers=facts)

    async def release(self, offer):
        pass

    async def layer(self, offer, need):
        for at in range(need.start, need.size_bytes, PIECE):
            yield pack(bytes(min(PIECE, need.size_bytes - at)), 1)

    async def needs(self, offer):
        needs = [
            api.LayerNeed(diff_id=layer.diff_id, start=0 if n else KEPT, size_bytes=40_000)
            for n, layer in enumerate(offer.layers)
        ]
        return api.ImageNeeds(present=False, layers=tuple(needs))

    async def take(self, need, chunks):
        async for _ in chunks:
            pass

    async def load(self, offer):
        self.loaded.append(offer.reference)


def grows(numbers, first):
    assert numbers == sorted(numbers)
    assert numbers[0] == first
    assert len(set(numbers)) > 10


async def test_an_applys_events_tell_of_how_much_has_come(monkeypatch):
    monkeypatch.setattr(delivering, "_STEP_S", 0.0)
    events = []
    prepared = SimpleNamespace(plan=SimpleNamespace(spec=SimpleNamespace(name="m")))
    agents = {name: Calls(name) for name in ("a", "b", "c")}
    work = delivering._Work(prepared, events.append, {}, agents)
    await work.do(Job("vqa", "i:1", "k", "a", False, ("b", "c")))
    assert agents["b"].loaded == agents["c"].loaded == ["i:1"]
    for name in ("b", "c"):
        mine = [event for event in events if event.machine == name]
        moving = [event.data for event in mine if event.data]
        grows([data["come_bytes"] for data in moving], KEPT + PIECE)
        assert {data["total_bytes"] for data in moving} == {160_000}
        assert moving[-1]["come_bytes"] == 160_000
        assert mine[1].text == f"a to {name}: 24.4 KiB of 156 KiB"
        assert mine[-1].text.startswith(f"a to {name}: 4 of 4 layers, ")


@pytest.fixture
def fleet():
    class Agents:
        async def get(self, name):
            return name

    class Fleet:
        is_alone = False
        agents = Agents()

        async def __aenter__(self):
            return self

        async def __aexit__(self, *exc):
            pass

    return Fleet()


async def test_a_send_tells_of_how_much_has_come_to_all(fleet, monkeypatch):
    monkeypatch.setattr(giving, "ImageCalls", lambda agent, machine: Calls(machine))
    told = []
    sent, failed = await giving.sent_to(fleet, "i", "a", ["b", "c"], lambda *now: told.append(now))
    assert failed is None
    assert [(one.machine, one.kept_bytes) for one in sent] == [("b", KEPT), ("c", KEPT)]
    assert {what for what, _, _ in told} == {"i:latest"}
    grows([come for _, come, _ in told], KEPT + PIECE)
    assert told[-1][1:] == (320_000, 320_000)


def test_a_line_says_of_how_much_and_how_fast(monkeypatch, capsys):
    clock = SimpleNamespace(now=100.0)
    monkeypatch.setattr(transfers, "time", SimpleNamespace(monotonic=lambda: clock.now))
    with transfers.ByteProgress() as progress:
        progress("i:1", 30 << 20, 50 << 20)  # what had come before is none of its speed
        clock.now = 110.0
        progress("i:1", 40 << 20, 50 << 20)
    with transfers.ByteProgress() as progress:
        progress("out.wav", 1 << 20)
        clock.now = 120.0
        progress("out.wav", 20 << 20)
    assert capsys.readouterr().err.splitlines() == [
        "i:1: 40.0 MiB of 50.0 MiB, 1.0 MiB/s",
        "out.wav: 20.0 MiB, 2.0 MiB/s",
    ]
