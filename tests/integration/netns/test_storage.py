"""A work folder that holds so much and no more, where a reboot took what was in memory."""

from __future__ import annotations

import os

import pytest
from helpers.world import World

from otter_agent import api, folders, storage
from otter_agent.steps import Steps

pytestmark = pytest.mark.netns


async def test_one_that_went_with_the_machines_memory_is_made_anew_with_its_files(
    tmp_path, require
) -> None:
    require("netns", os.geteuid() == 0, "not root")
    world = World(tmp_path)
    layout, paths = world.layout, world.layout.module("mesh", "m")
    blob = api.digest(b"as given")
    module = api.ModuleSpec(
        name="m", host="h", address="100.64.0.2", runtime="docker", storage_bytes=8 << 20,
        files=(api.File(target="given", blob=blob),),
    )  # fmt: skip
    async with world.agent() as agent:
        steps = Steps(agent.machine, "mesh")
        folders.make(layout, "mesh", "m", "", reaches_out=False)
        layout.blobs.mkdir(parents=True, exist_ok=True)
        (layout.blobs / blob).write_bytes(b"as given")
        try:
            steps._store_again(module, paths)
            (paths.work / "mine").write_text("of its life")
            steps._store_again(module, paths)
            assert (paths.work / "mine").exists()
            storage.unmount(paths.work)  # as a reboot does
            paths.volume.unlink(missing_ok=True)
            steps._store_again(module, paths)
            assert storage.is_mounted(paths.work)
            assert os.listdir(paths.work) == ["given"]
        finally:
            storage.unmount(paths.work)
