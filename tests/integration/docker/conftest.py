"""A docker runtime of its own for each test; everything it made is gone afterwards."""

from __future__ import annotations

import uuid

import pytest

from otter_agent.cgroups import open_cgroups
from otter_agent.layout import Layout
from otter_agent.runtimes.docker import DockerRuntime


@pytest.fixture
def agent_id() -> str:
    return f"t{uuid.uuid4().hex[:8]}"


@pytest.fixture
def layout(tmp_path) -> Layout:
    return Layout.at(tmp_path)


@pytest.fixture
async def runtime(docker_url, agent_id, layout):
    cgroups = open_cgroups(agent_id)
    runtime = DockerRuntime(docker_url, agent_id, layout, cgroups)
    yield runtime
    for instance in await runtime.list():
        await runtime.remove(instance.key)
    await runtime.aclose()
    cgroups.remove("")
    assert cgroups.groups() == []
