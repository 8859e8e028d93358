"""Of two who want to change a mesh one has the turn, for as long as it says that it lives."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from otter_agent import api
from otter_agent.errors import AgentError, Locked
from otter_agent.turns import LONGEST_S, Turns


def lease(holder: str, for_s: float = 30.0) -> api.Lease:
    return api.Lease(holder=holder, who=f"{holder} on laptop", for_s=for_s)


def test_one_has_it_until_it_gives_it_back_or_is_silent():
    turns = Turns()
    turns.check("mesh", "", 0.0)
    turns.take("mesh", lease("anna"), 0.0)
    turns.take("mesh", lease("anna"), 20.0)
    turns.check("mesh", "anna", 40.0)
    turns.check("other", "bob", 40.0)
    with pytest.raises(AgentError) as refused:
        turns.take("mesh", lease("bob"), 45.0)
    assert refused.value.code == "locked"
    assert "being changed by anna on laptop" in str(refused.value)
    with pytest.raises(AgentError):
        turns.check("mesh", "", 49.0)
    turns.take("mesh", lease("bob"), 50.0)
    turns.take("mesh", lease("bob", 0.0), 51.0)
    turns.check("mesh", "anna", 51.0)


def test_nobody_has_it_for_ever():
    turns = Turns()
    turns.take("mesh", lease("anna", 1e9), 0.0)
    turns.check("mesh", "bob", LONGEST_S)


def test_turns_that_are_over_take_no_memory():
    turns = Turns()
    for n in range(100):
        turns.take(f"mesh{n}", lease("anna", 1.0), float(n))
    assert len(turns._held) == 1


def test_one_who_is_gone_is_followed_by_who_knows_that():
    turns = Turns()
    turns.take("mesh", replace(lease("anna"), controller="boot.1.7.99"), 0.0)
    bob = replace(lease("bob"), controller="boot.1.8.100")
    with pytest.raises(Locked) as refused:
        turns.take("mesh", bob, 1.0)
    assert refused.value.controller == "boot.1.7.99"
    for wrong in ("", "boot.1.7.98"):
        with pytest.raises(Locked):
            turns.take("mesh", replace(bob, instead=wrong), 1.0)
    turns.take("mesh", replace(bob, instead=refused.value.controller), 1.0)
    with pytest.raises(Locked):
        turns.check("mesh", "anna", 2.0)
    turns.take("other", lease("anna"), 0.0)
    with pytest.raises(Locked):  # it said nothing of itself
        turns.take("other", replace(bob, instead="boot.1.7.99"), 1.0)
