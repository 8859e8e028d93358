"""Limits of GPU memory by control group: the real binding, over a stand-in for NVIDIA's library."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from helpers import nvml

from otter_agent.gpu.checking import unlike
from otter_agent.gpu.watch import Gpus
from otter_agent.gpu.words import Limit, LimitOrder

MIB = 1 << 20
NEW = f"driver 615.71\ngpu GPU-1 NVIDIA L4\nmemory 24152899584 0\nlimits {2 * MIB}\n"


@pytest.fixture
async def gpus(machine: nvml.Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    for name, value in machine.env.items():
        monkeypatch.setenv(name, value)
    reader = Gpus(tmp_path, lambda news: None, lambda: machine.library)
    async with asyncio.timeout(60), asyncio.TaskGroup() as group:
        running = group.create_task(reader.run())
        yield reader
        running.cancel()


async def _state(gpus: Gpus) -> None:
    while not (await gpus.state()).gpus:
        await asyncio.sleep(0)


async def test_one_is_set_read_back_in_the_drivers_pieces_and_taken_away(gpus, machine, tmp_path):
    machine.tell(NEW)
    await _state(gpus)
    folder = str(tmp_path)
    assert await gpus.limit(LimitOrder(uuid="GPU-1", folder=folder)) == Limit(used_bytes=0)
    asked = 1001 * MIB
    order = LimitOrder(uuid="GPU-1", folder=folder, change=True, hard_bytes=asked)
    found = await gpus.limit(order)
    assert found.hard_bytes == 1002 * MIB
    assert unlike(found, asked) == ""
    assert unlike(found, 2 * asked) != ""
    other = await gpus.limit(LimitOrder(uuid="GPU-1", folder=str(tmp_path.parent)))
    assert other.hard_bytes is None
    taken = await gpus.limit(LimitOrder(uuid="GPU-1", folder=folder, change=True))
    assert taken.hard_bytes is None


@pytest.mark.parametrize(
    ("scenario", "uuid", "folder", "why"),
    [
        (NEW.partition("limits")[0], "GPU-1", "/", "needs NVIDIA's driver R615 or newer"),
        (f"{NEW}lacks limits\n", "GPU-1", "/", "can't limit this GPU's memory"),
        (NEW, "GPU-1", "/nowhere", "no such control group"),
    ],
)
async def test_where_there_are_none_the_reason_is_told(gpus, machine, scenario, uuid, folder, why):
    machine.tell(scenario)
    await _state(gpus)
    order = LimitOrder(uuid=uuid, folder=folder, change=True, hard_bytes=MIB)
    assert why in (await gpus.limit(order)).error


@pytest.mark.parametrize("backend", ["misc", "dmem"])
async def test_a_group_without_a_limit_has_none_whatever_the_driver_calls_that(
    gpus, machine, tmp_path, backend
):
    """It says "not supported" or "not found", as where no limit can be had."""
    machine.tell(f"{NEW}backend {backend}\n")
    await _state(gpus)
    folder = tmp_path / "group"
    folder.mkdir()
    order = LimitOrder(uuid="GPU-1", folder=str(folder))
    assert await gpus.limit(order) == Limit()
    setting = LimitOrder(uuid="GPU-1", folder=str(folder), change=True, hard_bytes=1024 * MIB)
    if backend == "dmem":  # without a file of that controller it can have none
        assert "no such control group" in (await gpus.limit(setting)).error
        (folder / "dmem.max").touch()
    assert (await gpus.limit(setting)).hard_bytes == 1024 * MIB
    assert (await gpus.limit(order)).hard_bytes == 1024 * MIB


async def test_who_does_not_wait_for_an_answer_leaves_it_to_no_other(gpus, machine, tmp_path):
    machine.tell(NEW)
    await _state(gpus)
    async with asyncio.TaskGroup() as group:
        impatient = group.create_task(gpus.state())
        await asyncio.sleep(0)  # it has asked
        impatient.cancel()
    found = await gpus.limit(LimitOrder(uuid="GPU-1", folder=str(tmp_path)))
    assert found == Limit(used_bytes=0)
    assert (await gpus.state()).gpus
