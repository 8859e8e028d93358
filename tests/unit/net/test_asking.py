"""`ping`, `bench` and `send` where an end is slow, or a message is lost."""

from __future__ import annotations

import argparse
import asyncio
from types import SimpleNamespace

import numpy as np
import pytest

from net.cli import asking, bench, send
from net.cli.echo import Echo
from net.errors import ConnectionClosed, TransportError
from net.timing import Timing


class Back:
    """A way back from the echo: being made until `messages` is set, or broken."""

    def __init__(self, *where, **_):
        self.where, self.messages, self.broken, self.left = where, 0, False, False

    async def send(self, value, reply_to):
        if self.broken:
            raise ConnectionClosed("over")

    def stats(self):
        return SimpleNamespace(messages=self.messages)

    async def __aexit__(self, *_):
        self.left = True


class Echoes:
    """An echo, what is said to it, and the ways back that it made."""

    def __init__(self):
        self.ways = []
        self._echo = Echo(self._connect)

    def _connect(self, *where, **more):
        self.ways.append(Back(*where, **more))
        return self.ways[-1]

    async def hears(self, value):
        await self._echo._answer(
            SimpleNamespace(value=value, stream="s", source="ping", id="1.1", size_bytes=9)
        )

    async def greeted(self, port=9):
        await self.hears({"net": "hello", "address": "127.0.0.1", "port": port})


async def test_a_hello_that_is_repeated_waits_for_the_way_that_is_being_made():
    """Anew each time, a way that takes longer than a try would never be there."""
    echoes = Echoes()
    for _ in range(3):
        await echoes.greeted()
    assert [way.left for way in echoes.ways] == [False]


@pytest.mark.parametrize("why", ["it was in use", "another port", "it is broken"])
async def test_a_hello_has_another_way_made_where_the_old_one_may_be_of_no_use(why):
    echoes = Echoes()
    await echoes.greeted()
    (way,) = echoes.ways
    way.messages, way.broken = int(why == "it was in use"), why == "it is broken"
    await echoes.hears("a word")
    await echoes.greeted(10 if why == "another port" else 9)
    assert [way.left for way in echoes.ways] == [True, False]


class Session:
    """Loses the messages of these numbers."""

    def __init__(self, lost):
        self.asked, self._lost = 0, lost

    async def ask(self, payload):
        self.asked += 1
        if self.asked in self._lost:
            await asyncio.Event().wait()


async def test_bench_over_udp_goes_on_after_messages_that_are_lost(monkeypatch):
    monkeypatch.setattr(bench, "TRIPS_S", 0.0)
    session = Session(lost={2, 3, 4, 7})
    found = await bench._trips(session, np.zeros(1, np.uint8), 0.04, asking.TRIES)
    assert len(found) == 1
    assert session.asked == bench.WARM + 1 + 4


@pytest.mark.parametrize("tries", [1, 4])
async def test_bench_says_how_long_nothing_came(tries):
    session = Session(lost=range(3, 99))
    with pytest.raises(TransportError, match=r"no answer to 1 bytes within 0\.04 s"):
        await bench._trips(session, np.zeros(1, np.uint8), 0.04, tries)
    assert session.asked == 2 + tries


@pytest.mark.parametrize("udp", [False, True])
async def test_send_gives_a_silent_receiver_of_datagrams_time_for_its_last_word(monkeypatch, udp):
    given = []

    class Sender:
        async def __aenter__(self):
            return self

        async def __aexit__(self, *_):
            pass

        async def send(self, value):
            pass

        async def aclose(self):
            return True

    def connect(*_, timing, **__):
        given.append(timing)
        return Sender()

    monkeypatch.setattr(asking, "carrier", lambda *, udp: SimpleNamespace(connect=connect))
    asked = argparse.Namespace(
        text="x", value=None, array=None, target=("127.0.0.1", 9), input="in", wait=1.0, udp=udp,
        count=1, interval=0.0,
    )  # fmt: skip
    await send.Work(asked).run()
    assert [timing.close_s for timing in given] == [Timing().close_s if udp else 1.0]
