"""All links of a helper share its memory: a flood on many of them at once ends at one bound."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from net.links.model import KEEPING_BYTES
from net.links.spec import LinkSpec
from otter_agent.links.base import Direction
from otter_agent.links.tun import device
from otter_agent.links.tun.line import Line, Room, Way
from otter_agent.links.tun.protocol import End

PACKET = bytes(device.HEADER_BYTES + 100)
ENDS = (End(netns="a", inode=1, offload=True), End(netns="b", inode=2, offload=True))


@pytest.fixture
def devices() -> Iterator[list[tuple[int, int]]]:
    """As TUN devices: what is written comes out packet by packet. (what is read, what is fed)."""
    made = [os.pipe2(os.O_DIRECT | os.O_NONBLOCK | os.O_CLOEXEC) for _ in range(4)]
    yield made
    for _, fed in made:
        os.close(fed)


def line(room: Room, number: int, *sources: int) -> Line:
    made = Line(f"l{number}", ENDS, (sources[0], sources[1]), room)
    direction = Direction(
        mesh="m", link=f"l{number}", device=f"l{number}", seed=1,
        source="a", target="b", source_netns="a", target_netns="b",
    )  # fmt: skip
    made.ways[0].ask(direction, LinkSpec(delay_s=10.0), 0.0)
    return made


def flood(way: Way, fed: int, count: int) -> int:
    for _ in range(count):
        os.write(fed, PACKET)
        way.read(1.0)
    return way.model.waiting_packets


def test_the_room_is_shared_and_given_back(devices: list[tuple[int, int]]) -> None:
    room = Room(10 * (100 + KEEPING_BYTES))
    lines = [line(room, n, devices[2 * n][0], devices[2 * n + 1][0]) for n in range(2)]
    first, second = (one.ways[0] for one in lines)
    assert flood(first, devices[0][1], 6) == 6
    assert flood(second, devices[2][1], 6) == 4
    assert second.model.tally.dropped == {"room": 2}
    lines[0].close()  # as a link that goes
    assert flood(second, devices[2][1], 9) == 10
    lines[1].close()
    assert room.left_bytes == 10 * (100 + KEEPING_BYTES)
