"""Thirty containers: `otterctl apply` from an idle agent, beside raw aiodocker and compose.

Ours is the whole command: plan, namespaces, links, budgets, folders, containers, plugs, release.
One row is from its start until the last module runs, by the agent's own word, as peers are timed;
one until it ends, when all have lived long enough to be ready. The driver alone is a row as well:
create, start and release, with a plug that does nothing. aiodocker: the same image and command with
nothing else, at the parallelism that was best here. Removal isn't timed.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import aiodocker

from benchmarks.mesh import agent, run, star
from benchmarks.row import NotHere, Row
from otter_agent.cgroups import open_cgroups
from otter_agent.errors import CgroupError
from otter_agent.layout import Layout
from otter_agent.runtimes.base import Workload
from otter_agent.runtimes.docker import DockerRuntime

COUNT = 30
RUNS = 5
SEED = 7
PARALLEL = (8, 16, 30)
GOAL_TIMES = 1.25
AGENT = "bench"
IMAGE = "otter-bench/busybox:1"
COMMAND = ("sleep", "3600")
APPLY = "otterctl apply, until all run"
WHOLE = "otterctl apply, until it ends"
DRIVER = "the driver alone"

_TESTS = str(Path(__file__).parent.parent / "tests")


def rows() -> list[Row]:
    """Measured turn by turn on one engine of our own."""
    dockerd, images = _helpers()
    try:
        cgroups = open_cgroups(AGENT)
    except CgroupError as error:
        raise NotHere(str(error)) from error
    with dockerd.Dockerd() as engine, agent(engine.url) as (otterctl, folder):
        engine.import_image(IMAGE, images.busybox_root())
        layout = Layout.at(folder / "driver")
        until_end: list[float] = []
        contenders: dict[str, Callable[[], float]] = {
            APPLY: partial(_apply, otterctl, folder, until_end),
            DRIVER: lambda: asyncio.run(_ours(engine.url, layout, cgroups)),
        }
        for n in PARALLEL:
            contenders[f"aiodocker, {n} at once"] = partial(_run_raw, engine.url, n)
        if shutil.which("docker-compose"):
            contenders["docker-compose"] = partial(_compose, engine.url, folder)
        for measure in contenders.values():
            measure()  # the first one pays for caches
        until_end.clear()
        taken: dict[str, list[float]] = {name: [] for name in contenders}
        order, chance = list(contenders), random.Random(SEED)
        for _ in range(RUNS):
            chance.shuffle(order)  # each clears away while the next one is measured already
            for name in order:
                taken[name].append(contenders[name]())
    taken[WHOLE] = until_end
    return _rows({name: statistics.median(times) for name, times in taken.items()})


def _rows(medians: dict[str, float]) -> list[Row]:
    ours = {name: medians.pop(name) for name in (APPLY, WHOLE, DRIVER)}
    best = min(value for name, value in medians.items() if name.startswith("aiodocker"))
    return [
        Row(
            name=f"{COUNT} containers: {name}",
            unit="s",
            better="lower",
            ours=value,
            peers=medians,
            limit=best,
            goal=best * GOAL_TIMES,
            n=RUNS,
        )
        for name, value in ours.items()
    ]


def _apply(otterctl: list[str], folder: Path, until_end: list[float]) -> float:
    """Seconds until all ran; appends those until the command ended."""
    file = folder / "containers.toml"
    file.write_text(star(COUNT, f'image = "{IMAGE}"\ncommand = {json.dumps(COMMAND)}'))
    began = time.time()  # the wall clock, as that of events
    until_end.append(run(otterctl, "apply", str(file)))
    running = _running_since(otterctl, began)
    run(otterctl, "destroy", "--yes", "--no-fetch")
    return max(running) - began


def _running_since(otterctl: list[str], began: float) -> list[float]:
    """When each module of the mesh began to run; fails unless all did."""
    told = subprocess.run([*otterctl, "events", "--json"], capture_output=True, check=True).stdout
    events = [json.loads(line) for line in told.splitlines()]
    ran = {e["subject"]: e["time"] for e in events if e["state"] == "running" and e["time"] > began}
    if len(ran) != COUNT:
        raise RuntimeError(f"{len(ran)} of {COUNT} modules ran")
    return list(ran.values())


def _run_raw(url: str, parallel: int) -> float:
    return asyncio.run(_raw(url, parallel))


def _helpers() -> tuple[Any, Any]:
    """The tests' private engine and tiny image, from a checkout."""
    if _TESTS not in sys.path:
        sys.path.insert(0, _TESTS)
    try:
        dockerd: Any = importlib.import_module("helpers.dockerd")
        images: Any = importlib.import_module("helpers.images")
    except ImportError as error:
        raise NotHere("it needs the tests of a checkout") from error
    if why := dockerd.unavailable():
        raise NotHere(f"no Docker engine can be started: {why}")
    if images.static_busybox() is None:
        raise NotHere("no static busybox (apt: busybox-static)")
    return dockerd, images


async def _ours(url: str, layout: Layout, cgroups: Any) -> float:
    runtime = DockerRuntime(url, AGENT, layout, cgroups)
    make: Any = importlib.import_module("helpers.workloads").make_workload
    works: list[Workload] = [
        make(layout, IMAGE, COMMAND, module=f"m{n}") for n in range(COUNT)
    ]  # fmt: skip
    await runtime.list()  # an idle agent is connected

    async def one(work: Workload) -> None:
        await runtime.create(work)
        await runtime.start(work.key)
        await runtime.release(work.key)

    try:
        began = time.perf_counter()
        async with asyncio.TaskGroup() as group:
            for work in works:
                group.create_task(one(work))
        return time.perf_counter() - began
    finally:
        async with asyncio.TaskGroup() as group:
            for work in works:
                group.create_task(runtime.remove(work.key))
        await runtime.aclose()
        cgroups.remove("")


async def _raw(url: str, parallel: int) -> float:
    body: dict[str, Any] = {
        "Image": IMAGE,
        "Cmd": list(COMMAND),
        "HostConfig": {"NetworkMode": "none"},
    }
    async with aiodocker.Docker(url=url) as docker:
        await docker.version()
        made: list[Any] = []
        free = asyncio.Semaphore(parallel)

        async def one(number: int) -> None:
            async with free:
                container = await docker.containers.create(body, name=f"raw-{number}")
                made.append(container)
                await container.start()

        try:
            began = time.perf_counter()
            async with asyncio.TaskGroup() as group:
                for number in range(COUNT):
                    group.create_task(one(number))
            return time.perf_counter() - began
        finally:
            for container in made:  # one by one: see otter_agent/runtimes/ending.py
                await container.delete(force=True)


def _compose(url: str, folder: Path) -> float:
    service = {"image": IMAGE, "command": list(COMMAND), "network_mode": "none"}
    file = folder / "docker-compose.yml"
    file.write_text(
        json.dumps({"version": "2.4", "services": {f"s{n}": service for n in range(COUNT)}})
    )
    command = ["docker-compose", "-p", "bench", "-f", str(file)]
    env = {**os.environ, "DOCKER_HOST": url, "COMPOSE_PARALLEL_LIMIT": "64"}
    try:
        began = time.perf_counter()
        subprocess.run([*command, "up", "-d"], env=env, check=True, capture_output=True)
        return time.perf_counter() - began
    finally:
        env["COMPOSE_PARALLEL_LIMIT"] = "2"  # its least; see otter_agent/runtimes/ending.py
        subprocess.run([*command, "down", "-t", "0"], env=env, check=True, capture_output=True)
