"""Modules that NVIDIA's driver holds to their memory: by the agent's own code, over stand-ins.

The real binding asks a stand-in for the library; control groups are folders of plain files, as this
kernel may have none of v2. `tests/kernel/test_gpu_limits.py` has real ones.
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from helpers import nvml

from net.errors import DriverError
from otter_agent import api
from otter_agent.cgroups.v2 import NEEDED, CgroupsV2
from otter_agent.gpu import checking, devices
from otter_agent.gpu.devices import Devices
from otter_agent.gpu.granting import Coming, Grants
from otter_agent.gpu.mps import Mps
from otter_agent.gpu.owners import Running
from otter_agent.gpu.watch import Gpus
from otter_agent.gpu.words import LimitOrder
from otter_agent.layout import Layout
from otter_agent.leasing.client import Leases
from otter_agent.machine import Machine

GIB = 1 << 30
NEW = f"driver 615.71\ngpu GPU-1 NVIDIA L4\nmemory 24152899584 0\nlimits {2 << 20}\n"
FILES = {
    "cgroup.controllers": "cpu memory pids dmem\n", "cgroup.procs": "", "cpu.max": "max 100000\n",
    "memory.max": "max\n", "pids.max": "max\n",
}  # fmt: skip
MODULE = "m/h/x"
PID = 4242


class Tree(CgroupsV2):
    """Folders with what the kernel would put into them."""

    def _make(self, group: str, needed: Sequence[str] = NEEDED) -> None:
        path = self._mount
        for name in ("", *self._relative(group).split("/")):
            path /= name
            path.mkdir(exist_ok=True)
            for file, text in FILES.items():
                if not (path / file).exists():
                    (path / file).write_text(text)
            if path != self._mount:  # the root has none
                (path / "dmem.max").touch()

    def remove(self, group: str) -> None:
        shutil.rmtree(self._path(group))


class World:
    """An agent's part of GPUs, and what it tells."""

    def __init__(self, library: nvml.Machine, folder: Path) -> None:
        layout = Layout.at(folder / "agent")
        layout.module("m", "x").wiring.mkdir(parents=True)
        layout.run.mkdir(parents=True, exist_ok=True)
        self.groups = Tree("a1", folder / "groups")
        self.groups.ensure(MODULE, api.Budget())
        self.folder = str(self.groups.kill_directory(MODULE))
        self.grants = Grants(layout, Mps(layout.run / "mps"), lambda: False)
        self.events: asyncio.Queue[tuple[str, str, str]] = asyncio.Queue()
        machine = SimpleNamespace(
            grants=self.grants, layout=layout, cgroups=self.groups, leases=Leases(layout.turns),
            nvml=lambda: library.library, limiter=None,
        )  # fmt: skip
        self.machine = machine
        running = [Running("m", "x", PID)]
        self.devices = Devices(cast(Machine, machine), list, lambda: running, self._tell)

    def _tell(self, mesh: str, kind: str, subject: str, text: str, state: str, *_: Any) -> None:
        self.events.put_nowait((subject, state, text))

    def give(self, *, required: bool = True) -> api.GpuGrant:
        """The module its GPU."""
        module = api.ModuleSpec(
            name="x", host="h", address="100.64.0.2", runtime="process",
            gpu=api.GpuAsk(memory_bytes=GIB, required=required),
        )  # fmt: skip
        assert self.grants.give("m", module, Coming("env")) is not None
        given = self.grants.of("m", "x")
        assert given is not None
        return given


@pytest.fixture
def make(machine: nvml.Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    for name, value in machine.env.items():
        monkeypatch.setenv(name, value)
    (tmp_path / "groups").mkdir()
    world = World(machine, tmp_path)
    monkeypatch.setattr(checking, "UNIFIED", tmp_path / "groups")
    monkeypatch.setattr(devices, "group_folder", lambda pid: world.folder if pid == PID else "")
    monkeypatch.setattr(checking.Probe, "_turns", lambda self: "")  # test_grants.py has them
    for name in ("LOOK_S", "IDLE_LOOK_S"):
        monkeypatch.setattr(devices, name, 0.1)

    @asynccontextmanager
    async def making(scenario: str):
        machine.tell(scenario)
        async with asyncio.timeout(60), asyncio.TaskGroup() as group:
            running = group.create_task(world.devices.run())
            await world.devices.known()
            yield world
            running.cancel()

    return making


async def _read(machine: nvml.Machine, folder: str, path: Path) -> int | None:
    """By another reader than the agent's: limits are the driver's."""
    reader = Gpus(path, lambda news: None, lambda: machine.library)
    async with asyncio.timeout(30), asyncio.TaskGroup() as group:
        running = group.create_task(reader.run())
        found = await reader.limit(LimitOrder(uuid="GPU-1", folder=folder))
        running.cancel()
    assert found.error == ""
    return found.hard_bytes


@pytest.mark.parametrize("backend", ["misc", "dmem"])
async def test_one_is_set_before_the_module_begins_and_is_there_for_all(
    make, machine, tmp_path, backend
):
    async with make(f"{NEW}backend {backend}\n") as world:
        assert not (tmp_path / "groups" / "otter-a1" / checking.PROBE).exists()
        given = world.give()
        assert (given.memory, given.memory_bytes) == ("limit", GIB)
        await world.machine.limiter("m", "x", PID)
        assert await _read(machine, world.folder, tmp_path) == GIB
        state = await world.devices.verify()
        levels = {(fact.level, fact.gpu): fact.there for fact in state.levels}
        assert levels["limit", 0]
        assert state.grants[0].trouble == ""


async def test_one_that_cannot_be_set_any_more_fails_only_who_asked_for_gpus(make, machine):
    async with make(f"{NEW}backend misc\n") as world:
        world.give()
        machine.tell(f"{NEW}lacks limits\n")
        with pytest.raises(DriverError, match="can't limit this GPU's memory") as failed:
            await world.machine.limiter("m", "x", PID)
        assert failed.value.recoverable
        assert failed.value.hint
        world.give(required=False)
        await world.machine.limiter("m", "x", PID)


async def test_one_that_reads_back_as_another_is_told_and_so_is_that_it_holds_again(make):
    async with make(f"{NEW}backend misc\n") as world:
        world.give()  # and it began beside the agent: nothing has set its limit
        subject, state, text = await world.events.get()
        assert (subject, state) == ("x", "unheld")
        assert "read back as none" in text
        await world.machine.limiter("m", "x", PID)
        assert (await world.events.get())[:2] == ("x", "held")


async def test_a_gpu_lost_while_levels_are_tried_stays_lost(make, machine, monkeypatch):
    """What was there before they were isn't given to modules, nor told as there again."""
    real = checking.Probe.levels
    async with make(f"{NEW}backend misc\n") as world:
        world.give()
        await world.machine.limiter("m", "x", PID)

        async def levels(probe, state):
            found = await real(probe, state)
            machine.tell("driver 615.71\n")
            while (await world.events.get())[:2] != ("x", "lost"):
                pass
            return found

        monkeypatch.setattr(checking.Probe, "levels", levels)
        monkeypatch.setattr(devices, "LOOK_S", 1000.0)  # nor is it looked at again
        state = await world.devices.verify()
        assert (state.gpus, world.grants.facts) == ((), ())
        assert "answers no more" in state.grants[0].trouble


async def test_where_the_driver_can_limit_none_grants_go_by_what_was_tried(make, machine):
    async with make(f"{NEW}lacks limits\n") as world:
        given = world.give()
        assert given.memory == "framework"
        assert "can't limit this GPU's memory" in given.why
        machine.tell(NEW)  # the driver was upgraded, and nobody looked
        await world.devices.verify()
        assert world.give().memory == "limit"
