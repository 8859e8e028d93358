"""The process runtime over real control groups and namespaces; an agent id of its own per test."""

from __future__ import annotations

import os
import uuid
from collections.abc import AsyncIterator, Iterator

import pytest

from otter_agent.cgroups import open_cgroups, probe
from otter_agent.cgroups.base import Cgroups
from otter_agent.layout import Layout
from otter_agent.runtimes.process import ProcessRuntime


@pytest.fixture
def layout(tmp_path) -> Layout:
    return Layout.at(tmp_path / "root")


@pytest.fixture
def agent_id() -> str:
    return f"t{uuid.uuid4().hex[:8]}"


@pytest.fixture
def cgroups(agent_id, require) -> Iterator[Cgroups]:
    require("netns", os.geteuid() == 0 and probe().version != "none", probe().detail or "not root")
    opened = open_cgroups(agent_id)
    yield opened
    opened.kill("")
    opened.remove("")
    assert opened.groups() == []


@pytest.fixture
async def runtime(layout, agent_id, cgroups) -> AsyncIterator[ProcessRuntime]:
    made = ProcessRuntime(layout, agent_id, cgroups, launcher_idle_s=0.1)
    yield made
    for instance in await made.list():
        await made.remove(instance.key)
    await made.aclose()
