"""Requests about containers, answered by an engine that is in the middle of something."""

from __future__ import annotations

from contextlib import asynccontextmanager

import pytest

from otter_agent.engine import EngineError
from otter_agent.runtimes.containers import Containers


class Engine:
    """Refuses a start, says how the container is, and counts who waits for its removal."""

    def __init__(self, state: str) -> None:
        self.state = state
        self.waits = 0

    @asynccontextmanager
    async def stream(self, method, path):
        raise EngineError(409, "it can't be started")
        yield

    async def json(self, method, path, *, params=None):
        if path.endswith("/wait"):
            assert params == {"condition": "removed"}
            self.waits += 1
            self.state = ""
            return {}
        if not self.state:
            raise EngineError(404, "no such container")
        return {"State": {"Status": self.state}}


@pytest.mark.parametrize(("state", "waits"), [("removing", 1), ("dead", 0), ("", 0)])
async def test_one_that_is_being_removed_is_gone_when_its_start_fails(state, waits):
    """`docker rm -f` on a slow disk: looked at then, it isn't taken for one that doesn't start."""
    engine = Engine(state)
    with pytest.raises(EngineError, match="can't be started"):
        await Containers(engine, "a").start("c1")
    assert (engine.waits, engine.state) == (waits, "" if state == "removing" else state)
