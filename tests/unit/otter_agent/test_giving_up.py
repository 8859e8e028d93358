"""When an agent stops starting a module anew, and when it never does."""

from __future__ import annotations

import pytest
from helpers.world import World, settled, spec, until
from helpers.world import module as fake

from otter_agent import api
from otter_agent.supervision import PATIENCE, Supervision, account, hopeless

GATE = "otter gate: cannot run absent: it (or its interpreter) is not in the image"


def module(restart: api.RestartPolicy) -> api.ModuleSpec:
    return api.ModuleSpec(name="m", host="h", address="a", runtime="fake", restart=restart)


@pytest.mark.parametrize("restart", ["no", "on-failure", "always"])
@pytest.mark.parametrize("line", [GATE, GATE.replace("otter gate", "otter")])
def test_a_program_that_is_not_there_will_not_be_there_next_time(restart, line):
    memory = account(module(restart), Supervision(armed=True), 127, 1.0)
    after = hopeless(memory, ("something of an earlier life", line))
    assert (after.outcome, after.restarts) == ("failed", 0)
    assert after.reason == "cannot run absent: it (or its interpreter) is not in the image"


@pytest.mark.parametrize(
    ("code", "tail"), [(127, ()), (127, ("sh: x: not found",)), (1, (GATE,)), (127, (GATE, "more"))]
)
def test_what_a_module_itself_exits_with_is_tried_again(code, tail):
    memory = account(module("on-failure"), Supervision(armed=True), code, 1.0)
    assert hopeless(memory, tail) == memory


def test_always_means_always():
    """A client that ends while its server isn't there, in an image that has no shell for a loop."""
    memory = Supervision()
    for _ in range(PATIENCE.failures * 3):
        memory = account(module("always"), memory, 1, 0.0)
    assert memory.outcome == ""
    assert memory.retry_at == PATIENCE.backoff_max_s


@pytest.mark.slow
async def test_apply_waits_for_what_is_tried_for_ever_only_as_long_as_it_has_time(tmp_path):
    world = World(tmp_path)
    soon = api.Ready(within_s=0.05)
    async with world.agent() as agent:
        agent.put_mesh(spec(fake("m", "exit", "1", restart="always", ready=soon)))
        status = await settled(agent)
        (late,) = status.modules
        assert (late.state, late.overdue, status.state) == ("restarting", True, "degraded")
        assert late.reason == "exited with 1"
        now = (await until(agent, "mesh", "mesh", "settled")).seq
        await until(agent, "mesh", "module", "running", since=now)  # it goes on after that
