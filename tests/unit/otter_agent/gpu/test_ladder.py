"""Which GPUs a module is given, what holds it to its part, what it is started with."""

from __future__ import annotations

import pytest

from otter_agent import api
from otter_agent.gpu.ladder import Lacks, Used, chosen, levels, memory_of, variables

GIB = 1 << 30
SMALL = api.GpuFact(index=0, uuid="GPU-a", memory_bytes=4 * GIB)
LARGE = api.GpuFact(index=1, uuid="GPU-b", memory_bytes=24 * GIB)
SILENT = api.GpuFact(index=2, uuid="GPU-c")  # Jetson tells no memory
SPLIT = api.GpuFact(index=3, uuid="GPU-d", memory_bytes=24 * GIB, mig=True)
BOTH = (SMALL, LARGE)


@pytest.mark.parametrize(
    ("ask", "gpus", "used", "former", "uuids"),
    [
        (api.GpuAsk(), BOTH, {}, (), ("GPU-a",)),
        (api.GpuAsk(), BOTH, {}, ("GPU-b",), ("GPU-b",)),  # what it had
        (api.GpuAsk(), BOTH, {"GPU-a": Used(1)}, (), ("GPU-b",)),  # what fewer others have
        (api.GpuAsk(count=2), BOTH, {}, (), ("GPU-a", "GPU-b")),
        (api.GpuAsk(count=3), BOTH, {}, (), ()),
        (api.GpuAsk(memory_bytes=8 * GIB), BOTH, {}, (), ("GPU-b",)),
        (api.GpuAsk(memory_bytes=8 * GIB), BOTH, {}, ("GPU-a",), ("GPU-b",)),  # no more enough
        (api.GpuAsk(memory_bytes=3 * GIB), BOTH, {"GPU-a": Used(1, 2 * GIB), "GPU-b": Used(5)}, (),
         ("GPU-b",)),  # memory that is promised isn't promised twice
        (api.GpuAsk(memory_bytes=4 * GIB), (SMALL,), {"GPU-a": Used(1, GIB)}, (), ("GPU-a",)),
        (api.GpuAsk(memory_bytes=99 * GIB), (SILENT,), {}, (), ("GPU-c",)),
        (api.GpuAsk(), (), {}, (), ()),
    ],
)  # fmt: skip
def test_the_gpus_of_a_module(ask, gpus, used, former, uuids):
    assert chosen(ask, gpus, used, former) == uuids


@pytest.mark.parametrize(
    ("ask", "share", "uuids", "memory"),
    [
        (api.GpuAsk(memory_bytes=GIB), 0.5, ("GPU-a",), GIB),
        (api.GpuAsk(), 0.5, ("GPU-a",), 2 * GIB),
        (api.GpuAsk(count=2), 0.5, ("GPU-a", "GPU-b"), 2 * GIB),  # of the smallest
        (api.GpuAsk(), 3.0, ("GPU-a",), 4 * GIB),  # a weight
        (api.GpuAsk(), None, ("GPU-a",), None),
        (api.GpuAsk(), 0.5, ("GPU-c",), None),
        (api.GpuAsk(), 0.5, ("GPU-d",), None),  # of which instance?
        (api.GpuAsk(memory_bytes=GIB), 0.5, ("GPU-d",), GIB),
    ],
)
def test_memory_is_what_is_asked_or_the_share_of_it(ask, share, uuids, memory):
    assert memory_of(ask, share, uuids, (*BOTH, SILENT, SPLIT)) == memory


@pytest.mark.parametrize(
    ("memory", "share", "lacks", "found"),
    [
        (GIB, 0.5, Lacks(), ("limit", "mps", "")),
        (GIB, 0.5, Lacks(mps="not here"), ("limit", "lease", "mps: not here")),
        (GIB, 0.5, Lacks(limit="old"), ("mps", "mps", "limit: old")),
        (GIB, 0.5, Lacks("old", "not here"), ("framework", "lease", "limit: old; mps: not here")),
        (GIB, None, Lacks("old", "not here"), ("framework", "none", "limit: old; mps: not here")),
        (None, 0.5, Lacks("old", "not here"), ("none", "lease", "mps: not here")),
        (None, None, Lacks("old", "not here"), ("none", "none", "")),
    ],
)
def test_the_best_level_that_can_be_had_holds_and_why_no_better_one(memory, share, lacks, found):
    assert levels(memory, share, lacks) == found


def grant(**more) -> api.GpuGrant:
    return api.GpuGrant(mesh="m", module="x", **{"uuids": ("GPU-a",), "way": "env", **more})


def test_a_process_sees_its_gpus_by_name_alone():
    told = variables(grant(uuids=("GPU-a", "GPU-b")), "/pipe", None, {})
    assert told.env == {
        "CUDA_VISIBLE_DEVICES": "GPU-a,GPU-b", "NVIDIA_VISIBLE_DEVICES": "GPU-a,GPU-b",
    }  # fmt: skip
    by_runtime = variables(grant(way="nvidia"), "/pipe", None, {}).env
    assert by_runtime == {"NVIDIA_VISIBLE_DEVICES": "GPU-a"}
    assert variables(grant(way="cdi"), "/pipe", None, {}).env == {}  # the engine's affair
    assert variables(grant(uuids=()), "/pipe", None, {}).env == {}


def test_a_client_of_mps_is_limited_on_each_gpu_that_it_sees_and_on_no_other():
    given = grant(
        uuids=("GPU-a", "GPU-b"), way="cdi", memory="mps", time="mps", memory_bytes=GIB, share=0.25
    )
    assert variables(given, "/pipe", 4 * GIB, {}).env == {
        "CUDA_MPS_PIPE_DIRECTORY": "/pipe",
        "CUDA_MPS_PINNED_DEVICE_MEM_LIMIT": "0=1024M,1=1024M",
        "CUDA_MPS_ACTIVE_THREAD_PERCENTAGE": "25",
        "OTTER_GPU_MEMORY_BYTES": str(GIB),
        "OTTER_GPU_MEMORY_FRACTION": "0.250000",
    }
    weight = grant(time="mps", share=3.0, way="cdi")
    assert variables(weight, "/p", None, {}).env["CUDA_MPS_ACTIVE_THREAD_PERCENTAGE"] == "100"


def test_under_the_drivers_limit_all_that_cuda_shows_is_the_modules():
    """It shows the limit for the GPU's memory: a part of that would be a part of a part."""
    given = grant(uuids=("GPU-a", "GPU-b"), way="cdi", memory="limit", memory_bytes=GIB)
    assert variables(given, "/p", 4 * GIB, {}).env == {
        "OTTER_GPU_MEMORY_BYTES": str(GIB), "OTTER_GPU_MEMORY_FRACTION": "1.000000",
    }  # fmt: skip


def test_without_a_better_level_frameworks_are_told_to_hold_themselves():
    env = variables(grant(memory="framework", memory_bytes=GIB), "/p", 4 * GIB, {}).env
    assert env["TF_FORCE_GPU_ALLOW_GROWTH"] == "true"
    assert not any(name.startswith("CUDA_MPS") for name in env)


def test_tensorflow_grows_where_there_is_a_share_and_nobody_knows_of_how_much_memory():
    """As on a Jetson: it would take all of the memory that others on the same GPU need."""
    assert memory_of(api.GpuAsk(), 0.5, ("GPU-c",), (SILENT,)) is None
    given = grant(uuids=("GPU-c",), way="cdi", time="lease", share=0.5)
    assert variables(given, "/p", None, {}).env == {"TF_FORCE_GPU_ALLOW_GROWTH": "true"}
    alone = grant(uuids=("GPU-c",), way="cdi")  # nobody is promised a part of it
    assert variables(alone, "/p", None, {}).env == {}


def test_a_variable_that_the_module_says_otherwise_is_named():
    given = grant(time="mps", share=0.5)
    own = {"CUDA_MPS_PIPE_DIRECTORY": "/elsewhere", "CUDA_VISIBLE_DEVICES": "GPU-a"}
    assert variables(given, "/pipe", None, own).at_odds == ("CUDA_MPS_PIPE_DIRECTORY",)


@pytest.mark.parametrize(("way", "at_odds"), [("env", True), ("nvidia", True), ("cdi", False)])
def test_who_asks_nvidias_runtime_for_all_gpus_is_named(way, at_odds):
    told = variables(grant(way=way), "/pipe", None, {"NVIDIA_VISIBLE_DEVICES": "all"})
    assert told.at_odds == (("NVIDIA_VISIBLE_DEVICES",) if at_odds else ())
