"""Which directions a capture hears."""

from __future__ import annotations

import pytest

from net.links.spec import LinkSpec
from otter_agent import api
from otter_agent.capture import Capture, Wanted, _directions
from otter_agent.errors import AgentError

SPEC = api.MeshSpec(
    name="m",
    run="r",
    links=(
        api.Link(name="radio", a="a", b="b", forward=LinkSpec(), reverse=LinkSpec()),
        api.Link(name="down", a="b", b="a", forward=LinkSpec()),
    ),
)


def test_the_directions_that_a_link_has():
    assert _directions(SPEC, "radio", "") == [("a", "b"), ("b", "a")]
    assert _directions(SPEC, "radio", "b>a") == [("b", "a")]
    assert _directions(SPEC, "down", "") == [("b", "a")]


class Tap:
    """A direction where so many packets wait."""

    name, link_type = "of a test", 1

    def __init__(self, waiting):
        self.waiting, self.taken = waiting, 0

    def read(self, number, room, most):
        found = min(self.waiting, most)
        self.waiting -= found
        self.taken += found
        return [b"x"] * found

    def dropped(self):
        return 0


@pytest.mark.parametrize(
    ("waiting", "wanted", "taken"),
    [
        ((9, 9), 6, [3, 3]),
        ((9, 9), 5, [3, 2]),
        ((9, 9), 1, [1, 0]),
        ((9, 0), 6, [6, 0]),
        ((1, 9), 6, [1, 5]),
        ((9, 9, 9), 4, [2, 1, 1]),
        ((900, 900), None, [900, 900]),
    ],
)
def test_each_direction_has_its_share_of_the_packets_that_are_wanted(waiting, wanted, taken):
    taps = [Tap(n) for n in waiting]
    capture = Capture(taps, Wanted(packets=wanted))
    while capture.read():
        pass
    assert [tap.taken for tap in taps] == taken


@pytest.mark.parametrize(
    ("name", "direction", "hint"),
    [
        ("radio", "a>c", "there are: a>b, b>a"),
        ("down", "a>b", "there are: b>a"),
        ("no", "", "there are: radio, down"),
    ],
)
def test_what_there_is_not(name, direction, hint):
    with pytest.raises(AgentError) as refused:
        _directions(SPEC, name, direction)
    assert (refused.value.code, refused.value.hint) == ("not-found", hint)
