"""What a real engine makes of the request for GPUs: it understands it, and has none to give."""

from __future__ import annotations

from dataclasses import replace

import pytest
from helpers.workloads import make_workload

from otter_agent.errors import ContainerError
from otter_agent.runtimes.base import GpuAccess

pytestmark = pytest.mark.docker


async def test_the_engine_keeps_the_request_as_it_was_meant(runtime, layout, busybox_image):
    pipe = layout.run / "mps" / "pipe"
    pipe.mkdir(parents=True)
    gpu = GpuAccess(
        ("GPU-1", "GPU-2"), (0, 1), "nvidia", {"CUDA_MPS_PIPE_DIRECTORY": str(pipe)}, pipe
    )
    work = replace(make_workload(layout, busybox_image, ("sleep", "1000")), gpu=gpu)
    made = await runtime.create(work)
    shown = await runtime.engine.json("GET", f"/containers/{made.id}/json")
    (request,) = shown["HostConfig"]["DeviceRequests"]
    assert (request["Driver"], request["Count"]) == ("nvidia", 0)
    assert request["DeviceIDs"] == ["GPU-1", "GPU-2"]
    assert request["Capabilities"] == [["gpu", "compute", "utility"]]
    assert f"CUDA_MPS_PIPE_DIRECTORY={pipe}" in shown["Config"]["Env"]
    assert {m["Target"] for m in shown["HostConfig"]["Mounts"]} >= {str(pipe), "/dev/shm"}
    with pytest.raises(ContainerError, match="could not select device driver"):
        await runtime.start(work.key)


async def test_an_engine_without_a_way_to_gpus_is_known_before_it_is_asked(runtime):
    way, why = await runtime.gpu_way()
    assert (way, "has no way to GPUs" in why) == ("", True)
