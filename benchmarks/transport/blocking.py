"""`side.py` for peers that block: the same four roles without a loop."""

from __future__ import annotations

from contextlib import AbstractContextManager
from time import perf_counter as clock
from typing import Any, Protocol

from benchmarks.transport.peer import Channel, Task


class Side(Protocol):
    """What this file needs of `side.Side`."""

    @property
    def task(self) -> Task:
        """What is exchanged."""

    @property
    def value(self) -> Any:
        """What is sent."""

    def say(self, what: str, **more: Any) -> None:
        """One line."""

    def hear(self) -> dict[str, int]:
        """The next line."""

    def check(self, value: Any) -> None:
        """What arrived is what was sent."""


def ask(side: Side, channel: Channel, turn: dict[str, int]) -> None:
    """Round trips, one after the other."""
    send, receive, value = channel.send, channel.receive, side.value
    got, samples = None, []
    for _ in range(turn["warm"] + turn["count"]):
        begin = clock()
        send(value)
        got = receive()
        samples.append(clock() - begin)
    side.check(channel.value(got))
    side.say("done", samples=samples[turn["warm"] :])


def answer(side: Side, channel: Channel, turn: dict[str, int]) -> None:
    """The other end of `ask`."""
    receive, back = channel.receive, channel.answer or channel.send
    for _ in range(turn["warm"] + turn["count"]):
        back(receive())
    side.say("done")


def send(side: Side, channel: Channel, turn: dict[str, int]) -> None:
    """The same value, as fast as the other end takes it."""
    send, value = channel.send, side.value
    for _ in range(turn["warm"]):
        send(value)
    side.hear()
    begin = clock()
    for _ in range(turn["count"]):
        send(value)
    side.say("done", begin=begin)


def receive(side: Side, channel: Channel, turn: dict[str, int]) -> None:
    """The other end of `send`."""
    receive, value_of = channel.receive, channel.value
    for _ in range(turn["warm"]):
        receive()
    side.say("warm")
    value, arrivals = None, []
    for _ in range(turn["count"]):
        value = value_of(receive())
        arrivals.append(clock())
    side.check(value)
    side.say("done", arrivals=arrivals)


ROLES = {
    ("echo", "listen"): answer,
    ("echo", "dial"): ask,
    ("one way", "listen"): receive,
    ("one way", "dial"): send,
}


def take_turns(ends: AbstractContextManager[Channel], side: Side, end: str) -> None:
    """Until the process ends."""
    role = ROLES[side.task.pattern, end]
    with ends as channel:
        side.say("ready")
        while True:
            role(side, channel, side.hear())
