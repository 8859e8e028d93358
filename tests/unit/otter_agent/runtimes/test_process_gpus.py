"""Which GPUs CUDA shows a process."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from helpers.workloads import make_workload

from otter_agent.layout import Layout
from otter_agent.runtimes.base import Artifact, GpuAccess
from otter_agent.runtimes.process import environment

VISIBLE = "CUDA_VISIBLE_DEVICES"
GIVEN = GpuAccess(("GPU-a",), (0,), "env", {VISIBLE: "GPU-a"})


@pytest.mark.parametrize(
    ("given", "own", "seen"),
    [
        (None, {}, ""),  # else all of them
        (GIVEN, {}, "GPU-a"),
        (None, {VISIBLE: "1"}, "1"),
        (GIVEN, {VISIBLE: "1"}, "1"),
    ],
)
def test_those_that_it_was_given_unless_it_says_otherwise(
    tmp_path: Path, given: GpuAccess | None, own: dict[str, str], seen: str
) -> None:
    work = make_workload(Layout.at(tmp_path), "", env=own, artifact=Artifact("", env={"A": "b"}))
    found = environment(replace(work, gpu=given))
    assert (found["A"], found[VISIBLE]) == ("b", seen)
