"""What is asked of links by hand is looked up, and there is an end to how much at once."""

from __future__ import annotations

from typing import Any

import pytest

from otter_agent import api
from otter_agent.errors import AgentError
from otter_agent.links.asking import MOST_DIRECTIONS, MOST_GLOBS, resolve
from otter_agent.links.ways import Way

WAYS = [Way(name, *ends) for name in ("b1", "a2", "a1", "[x]") for ends in ("pq", "qp")]


def asked(*patterns: str, **more: Any) -> list[list[str]]:
    changes = [api.LinkChange(link=pattern, set={"delay_s": 0.01}, **more) for pattern in patterns]
    return [[way.link for way in one.of] for one in resolve(changes, WAYS, "m")]


def test_a_name_is_a_name_first_and_a_glob_keeps_the_order() -> None:
    assert asked("a?", "[x]", "*") == [
        ["a2", "a2", "a1", "a1"], ["[x]", "[x]"], [way.link for way in WAYS],
    ]  # fmt: skip
    assert asked("a*", direction="p>q") == [["a2", "a1"]]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("patterns", "code", "text"),
    [
        (["b2"], "not-found", "no link 'b2'"),
        (["*a" * 500_000], "not-found", "no link '*a*a"),  # read as a pattern it takes 10 s
        (["*"] * (MOST_DIRECTIONS // len(WAYS) + 1), "bad-request", "more than 20000 directions"),
        ([f"*[{i}a]?" for i in range(MOST_GLOBS + 1)], "bad-request", "more than 100 globs"),
    ],
)
def test_what_would_hold_the_agent_up_is_refused(patterns: list[str], code: str, text: str) -> None:
    with pytest.raises(AgentError, match=text[:12].replace("*", ".")) as caught:
        asked(*patterns)
    assert caught.value.code == code
    assert text in caught.value.message
