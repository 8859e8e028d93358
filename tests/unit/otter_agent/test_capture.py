"""Which directions a capture hears."""

from __future__ import annotations

import pytest

from net.links.spec import LinkSpec
from otter_agent import api
from otter_agent.capture import _directions
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
