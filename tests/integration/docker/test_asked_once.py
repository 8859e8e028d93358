"""How often the engine is asked: many modules of one image are one question about it."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest
from helpers.workloads import make_workload

from otter_agent.api import ModuleSpec
from otter_agent.images.docker import DockerImages
from otter_agent.images.wheelhouse import Wheelhouse
from otter_agent.runtimes.containers import Containers

pytestmark = pytest.mark.docker
MODULES = 16


@pytest.fixture
def asked(monkeypatch):
    """Counts the questions of every engine client, by method and path."""
    from otter_agent.engine import Engine

    counts: Counter[str] = Counter()
    ask = Engine.json

    async def counted(self, method, path, **options):
        counts[f"{method} {path}"] += 1
        return await ask(self, method, path, **options)

    monkeypatch.setattr(Engine, "json", counted)
    return counts


async def test_an_image_is_looked_at_once_for_all_that_want_it(
    docker_url, busybox_image, layout, agent_id, asked
):
    store = DockerImages(docker_url, layout, Wheelhouse(layout.lib), agent_id)
    try:
        async with asyncio.TaskGroup() as group:
            for n in range(MODULES):
                spec = ModuleSpec(
                    name=f"m{n}", host="h", address="100.64.0.2", runtime="docker",
                    image=busybox_image,
                )  # fmt: skip
                group.create_task(store.ensure(spec, lambda line: None))
    finally:
        await store.aclose()
    assert asked == {f"GET /images/{busybox_image}/json": 1}


async def test_thirty_containers_ask_nothing_twice(runtime, layout, busybox_image, asked):
    works = [
        make_workload(layout, busybox_image, ("sleep", "100"), module=f"m{n}")
        for n in range(MODULES)
    ]
    async with asyncio.TaskGroup() as group:
        for work in works:
            group.create_task(_up(runtime, work))
    kinds = Counter(path.removeprefix("GET /").partition("/")[0] for path in asked.elements())
    assert kinds == {"info": 1, "images": 1, "containers": MODULES}


async def test_the_first_starts_while_others_are_made(runtime, layout, busybox_image, monkeypatch):
    begun: list[str] = []
    create, start = Containers.create, Containers.start

    async def creating(self, name, body):
        begun.append("create")
        return await create(self, name, body)

    async def starting(self, container_id):
        begun.append("start")
        return await start(self, container_id)

    monkeypatch.setattr(Containers, "create", creating)
    monkeypatch.setattr(Containers, "start", starting)
    async with asyncio.TaskGroup() as group:
        for n in range(MODULES):
            work = make_workload(layout, busybox_image, ("sleep", "100"), module=f"m{n}")
            group.create_task(_up(runtime, work))
    assert begun.index("start") < MODULES


async def _up(runtime, work) -> None:
    await runtime.create(work)
    await runtime.start(work.key)
    await runtime.release(work.key)
