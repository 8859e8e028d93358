"""What `status` says of limits: what is in force, and what was asked where that differs.

And of GPUs.
"""

from __future__ import annotations

import pytest

from otter_agent import api
from otter_ctl.cli.gpu import gpu_lines
from otter_ctl.cli.status import _both


@pytest.mark.parametrize(
    ("in_force", "asked", "said"),
    [
        (0.5, 0.5, "0.5"),
        (None, None, "unlimited"),
        (0.5, None, "0.5 (unlimited)"),
        (None, 0.5, "unlimited (0.5)"),
        ("256MiB", "1GiB", "256MiB (1GiB)"),
    ],
)
def test_limits(in_force, asked, said):
    assert _both(in_force, asked) == said


def test_gpus_say_what_they_tell_or_why_they_say_nothing():
    split = api.GpuStatus(index=0, name="H200", mig=True, memory_bytes=8 << 30, temperature_c=61.0)
    lost = api.GpuStatus(index=1, error="NVIDIA's driver: GPU is lost")
    states = {"box": api.GpuState(gpus=(split, lost)), "m2": api.GpuState(why="no driver")}
    assert list(gpu_lines(states)) == [
        ("GPU 0 of box: H200 (MIG), - of 8GiB, 61 C", False),
        ("GPU 1 of box: NVIDIA's driver: GPU is lost", True),
    ]
