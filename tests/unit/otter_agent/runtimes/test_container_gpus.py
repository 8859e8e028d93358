"""What Docker is asked for so that GPUs come into a container."""

from __future__ import annotations

from pathlib import Path

import pytest

from otter_agent.runtimes.base import GpuAccess
from otter_agent.runtimes.container_gpus import mounts, names, requests, variables, way

SPEC = "cdiVersion: 0.6.0\nkind: nvidia.com/gpu\ndevices:\n- name: '0'\n"
CDI = {"CDISpecDirs": ["/etc/cdi"]}
FOUND = {
    "CDISpecDirs": ["/etc/cdi"],
    "DiscoveredDevices": [
        {"Source": "cdi", "ID": "nvidia.com/gpu=0"}, {"Source": "cdi", "ID": "nvidia.com/gpu=all"},
        {"Source": "cdi", "ID": "intel.com/gpu=1"},
    ],
}  # fmt: skip


def access(kind, **more) -> GpuAccess:
    return GpuAccess(("GPU-a", "GPU-b"), (0, 1), kind, **more)


@pytest.mark.parametrize(
    ("info", "texts", "hook", "found"),
    [
        ({}, (), False, ""),
        ({"Runtimes": {"runc": {}}}, (SPEC,), False, ""),  # an engine without CDI
        ({"Runtimes": {"runc": {}, "nvidia": {}}}, (), False, "nvidia"),
        ({}, (), True, "nvidia"),
        (CDI, (SPEC,), False, "cdi"),
        (CDI, ("kind: intel.com/gpu\n",), False, ""),
        (FOUND, (), False, "cdi"),
    ],
)
def test_the_way_is_the_one_that_the_engine_has(info, texts, hook, found):
    assert way(info, texts, hook=hook) == found


def test_nvidias_runtime_is_asked_by_uuid():
    assert requests(access("nvidia"), ()) == [
        {"Driver": "nvidia", "Count": 0, "DeviceIDs": ["GPU-a", "GPU-b"],
         "Capabilities": [["gpu", "compute", "utility"]], "Options": {}}
    ]  # fmt: skip


def test_cdi_is_asked_by_the_names_that_its_specification_has():
    by_index = ["nvidia.com/gpu=0", "nvidia.com/gpu=1"]
    assert requests(access("cdi"), names(FOUND, ())) == [{"Driver": "cdi", "DeviceIDs": by_index}]
    assert requests(access("cdi"), names(CDI, (SPEC,)))[0]["DeviceIDs"] == by_index
    by_uuid = requests(access("cdi"), {"GPU-a", "GPU-b", "0", "1"})[0]["DeviceIDs"]
    assert by_uuid == ["nvidia.com/gpu=GPU-a", "nvidia.com/gpu=GPU-b"]


def test_without_gpus_nothing_is_asked():
    assert requests(None, ()) == []
    assert requests(access("env"), ()) == []
    assert mounts(None) == []
    assert mounts(access("nvidia")) == []


@pytest.mark.parametrize(
    ("given", "sees"),
    [
        (None, {"NVIDIA_VISIBLE_DEVICES": "void"}),
        (access("cdi"), {"NVIDIA_VISIBLE_DEVICES": "void"}),
        (access("nvidia"), {"NVIDIA_VISIBLE_DEVICES": "GPU-a,GPU-b"}),
        (access("cdi", env={"A": "1"}), {"NVIDIA_VISIBLE_DEVICES": "void", "A": "1"}),
    ],
)
def test_who_was_given_none_sees_none_and_else_its_own_whatever_its_image_says(given, sees):
    """As where NVIDIA's runtime is the engine's default, and an image says `all`."""
    assert variables(given) == sees


def test_clients_of_mps_share_its_pipes_and_memory():
    shown = mounts(access("cdi", mps=Path("/run/otter/mps/pipe")))
    assert [(mount["Source"], mount["Target"], mount["ReadOnly"]) for mount in shown] == [
        ("/run/otter/mps/pipe", "/run/otter/mps/pipe", False), ("/dev/shm", "/dev/shm", False),
    ]  # fmt: skip
