"""`otterctl dev` tells what its module does, also where that, or the log of it, is slow to come."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path

import pytest

from otter_agent import api
from otter_ctl.cli.dev import _Dev


class Client:
    """A module's log, which is followed from when `answers` is set on."""

    def __init__(self, log):
        self.log, self.answers = log, asyncio.Event()

    @contextlib.asynccontextmanager
    async def events(self, *, mesh, follow):
        async def none():
            await asyncio.Event().wait()
            yield

        yield none()

    async def logs(self, mesh, modules, *, tail, follow, since=None, until=None):
        if follow:
            await self.answers.wait()
        for line in self.log[len(self.log) - tail :] if tail is not None else list(self.log):
            if since is None or line.time >= since:
                yield line


class Development:
    """One save, after which the module says so, and only then its log is at hand."""

    def __init__(self, client, said):
        self._client, self._said = client, said

    async def saves(self, stop):
        yield []
        yield [Path(__file__)]

    async def take(self, *, build):
        self._client.log.append(self._said)
        self._client.answers.set()
        for _ in range(100):  # turns of the loop, in which nothing but ours happens
            await asyncio.sleep(0)
        return "restarted"


@pytest.mark.parametrize(
    "before", [[], [api.LogLine("m", "version 1", 10.0), api.LogLine("m", "version 1.1", 11.0)]]
)
async def test_what_a_save_brings_is_shown_though_the_log_comes_later(capsys, before):
    client = Client(before)
    development = Development(client, api.LogLine("m", "version 2", 11.000001))
    dev = _Dev(client, "mesh", "m", development, Path(__file__).parent)
    await dev._until(asyncio.Event(), stale=False)
    assert capsys.readouterr().out == "version 2\n"


@pytest.mark.parametrize(
    "states", [("starting", "failed"), ("starting", "running", "ready", "failed")]
)
def test_a_module_that_fails_is_told_of_though_it_had_been_ready(capsys, states):
    """Without `ready` it is ready soon, and a slow interpreter only then finds what is wrong."""
    dev = _Dev(None, "mesh", "m", None, Path())
    for seq, state in enumerate(states):
        dev._tell_state(api.Event(seq, 1.0, "mesh", "module", "m", f"is {state}", state))
    told = capsys.readouterr().err.splitlines()
    assert told[-1] == "dev: m: is failed; waiting for the next save"
    assert len(told) == len(states) - 1
