"""What users see of a module's state."""

from __future__ import annotations

import pytest

from otter_agent.reconcile import Seen
from otter_agent.runtimes.base import Instance, Key, Phase
from otter_agent.states import module_state
from otter_agent.supervision import Supervision


def seen(phase: Phase, *, ready: bool) -> Seen:
    instance = Instance(key=Key("m", "a"), id="1", spec_digest="d", phase=phase)
    return Seen(instance=instance, artifact=True, connected=True, ready=ready)


@pytest.mark.parametrize("ready", [True, False])
def test_one_that_has_ended_is_what_it_was_until_that_is_dealt_with(ready: bool) -> None:
    """An apply that looked in that moment told it wasn't as asked."""
    before = module_state("d", seen(Phase.RUNNING, ready=ready), Supervision())
    assert module_state("d", seen(Phase.EXITED, ready=ready), Supervision()) == before


def test_one_that_is_held_waits_for_its_network() -> None:
    told = module_state("d", seen(Phase.HELD, ready=False), Supervision(spec_digest="d"))
    assert told == ("starting", "waits for its network")
