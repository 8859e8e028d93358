"""What is said of a module that isn't held to its part of a GPU: never nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from otter_agent import api
from otter_agent.cgroups.v2 import CgroupsV2
from otter_agent.gpu.checking import PROBE, Seen, accounting, group_folder, trouble
from otter_agent.gpu.words import Limit

GIB = 1 << 30
THERE = frozenset({"GPU-a"})


def grant(**more) -> api.GpuGrant:
    return api.GpuGrant(mesh="m", module="x", uuids=("GPU-a",), **more)


BY_MPS = grant(time="mps", share=0.5)
BY_LIMIT = grant(memory="limit", memory_bytes=GIB)


@pytest.mark.parametrize(
    ("given", "seen", "why", "state"),
    [
        (grant(), Seen(THERE), "", ""),
        (grant(), Seen(frozenset()), "GPU-a: answers no more", "lost"),
        (BY_MPS, Seen(THERE, mps="dead"), "MPS: dead: its clients are held to nothing", "unheld"),
        (BY_MPS, Seen(THERE, frozenset({"compute"})), "it computes beside MPS", "unheld"),
        (BY_MPS, Seen(THERE, frozenset({"mps"})), "", ""),
        (BY_MPS, Seen(THERE, frozenset({"mps", "compute"})), "", ""),
        (BY_MPS, Seen(THERE), "", ""),  # it hasn't begun to compute
        (grant(time="lease"), Seen(THERE, frozenset({"compute"}), mps="dead"), "", ""),
        (BY_LIMIT, Seen(THERE, limits={"GPU-a": Limit(hard_bytes=GIB)}), "", ""),
        (BY_LIMIT, Seen(THERE, limits={"GPU-a": Limit(hard_bytes=GIB + 4096)}), "", ""),  # pieces
        (BY_LIMIT, Seen(THERE, limits={"GPU-a": Limit()}), "read back as none", "unheld"),
        (BY_LIMIT, Seen(THERE, limits={"GPU-a": Limit(hard_bytes=2 * GIB)}), "back as", "unheld"),
        (BY_LIMIT, Seen(THERE, limits={"GPU-a": Limit(error="no group")}), "no group", "unheld"),
        (BY_LIMIT, Seen(THERE), "", ""),  # it doesn't run
    ],
)  # fmt: skip
def test_what_does_not_hold_is_said(given, seen, why, state):
    said, told = trouble(given, seen)
    assert told == state
    assert (why in said) if why else not said
    assert ("; `otterctl restart x` " in said) == (state == "unheld")  # what to try


@pytest.mark.parametrize(
    ("groups", "version2", "folder"),
    [
        ("0::/otter/m/edge/x\n", True, "{}/otter/m/edge/x"),
        ("12:memory:/a\n0::/b\n", True, "{}/b"),
        ("12:memory:/a\n", True, ""),
        ("0::/b\n", False, ""),  # v1, or both: the driver looks at v2 alone
    ],
)
def test_the_group_that_the_driver_is_told(groups, version2, folder, tmp_path: Path):
    (tmp_path / "7").mkdir()
    (tmp_path / "7" / "cgroup").write_text(groups)
    if version2:
        (tmp_path / "cgroup.controllers").write_text("memory\n")
    assert group_folder(7, tmp_path, tmp_path) == folder.format(tmp_path)


def test_limits_are_tried_on_a_group_that_can_be_and_is_no_meshs(tmp_path: Path):
    assert CgroupsV2("a1", tmp_path).docker_parent(PROBE, "cgroupfs") == f"/otter-a1/{PROBE}"
    with pytest.raises(ValueError, match="is not a valid name"):
        api.check_names({PROBE: "100.64.0.1"})


def test_a_gpu_that_tells_neither_memory_nor_processes_accounts_for_nothing():
    """Jetson tells no memory; drivers of some cards no processes."""
    silent = api.GpuStatus(index=0, uuid="GPU-a", untold=("memory", "power", "processes"))
    other = api.GpuStatus(index=1, uuid="GPU-b", untold=("power",))
    assert list(accounting([silent, other])) == [
        api.LevelFact(
            level="accounting", there=False, why="it doesn't tell its memory and processes", gpu=0
        ),
        api.LevelFact(level="accounting", there=True, gpu=1),
    ]
    (none,) = accounting([])
    assert (none.there, none.why) == (False, "there is no GPU")
