"""What frameworks are told of their part of a GPU's memory, before they begin or after."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from net import frameworks
from net.frameworks import Part, part, tell_tensorflow, tell_torch

GIB = 1 << 30
EARLY = """
import importlib.util, sys
from net import frameworks
told = []
frameworks.TELL = {"late": lambda module, part: told.append((module.VALUE, part)) or "told"}
frameworks.prepare()
assert told == []
assert importlib.util.find_spec("late")  # as transformers asks for torch
assert told == [] and "late" not in sys.modules
import late
assert told == [(7, frameworks.Part(1024, 0.25))], told
assert type(late.__spec__.loader).__name__ == "SourceFileLoader", late.__spec__
frameworks.prepare()  # it is there already
assert len(told) == 2 and not any("Waiting" in type(x).__name__ for x in sys.meta_path)
"""


@pytest.mark.parametrize(
    ("environment", "found"),
    [
        ({}, None),
        ({frameworks.BYTES: "1024"}, Part(1024, None)),
        ({frameworks.BYTES: "1024", frameworks.FRACTION: "0.25"}, Part(1024, 0.25)),
        ({frameworks.BYTES: "1024", frameworks.FRACTION: "2"}, Part(1024, None)),
        ({frameworks.BYTES: "0"}, None),
        ({frameworks.BYTES: "many"}, None),
        ({frameworks.FRACTION: "0.25"}, None),  # of what, is not said
    ],
)
def test_the_part_is_read_from_the_environment(environment, found):
    assert part(environment) == found


def torch_with(*totals: int) -> tuple[SimpleNamespace, dict[int, float]]:
    """A PyTorch whose GPUs have so much memory each, as CUDA shows it; and what it was told."""
    told: dict[int, float] = {}
    cuda = SimpleNamespace(
        is_available=lambda: bool(totals), device_count=lambda: len(totals),
        mem_get_info=lambda device: (totals[device] // 2, totals[device]),
        set_per_process_memory_fraction=lambda part, device: told.update({device: part}),
    )  # fmt: skip
    return SimpleNamespace(cuda=cuda), told


@pytest.mark.parametrize(
    ("totals", "fractions"),
    [
        ((4 * GIB, 24 * GIB), {0: 0.5, 1: 2 / 24}),  # unlike GPUs: as much of each
        ((2 * GIB,), {0: 1.0}),  # under the driver's limit, which is all that CUDA shows
        ((GIB,), {0: 1.0}),
        ((0, 8 * GIB), {0: 0.125, 1: 0.25}),  # of one that shows none, what the agent says
        ((), {}),
    ],
)
def test_pytorch_is_told_the_same_of_each_gpu_whatever_it_shows_of_its_memory(totals, fractions):
    torch, told = torch_with(*totals)
    said = tell_torch(torch, Part(2 * GIB, 0.125))
    assert told == pytest.approx(fractions)
    assert said.count("of what GPU") == len(fractions)


def test_a_pytorch_that_shows_no_memory_is_told_what_the_agent_says():
    torch, told = torch_with(4 * GIB)
    del torch.cuda.mem_get_info  # as before PyTorch 1.11
    assert tell_torch(torch, Part(GIB, 0.25)).startswith("25.0% of what GPU 0 shows")
    assert told == {0: 0.25}
    told.clear()
    assert tell_torch(torch, Part(GIB, None)) == ""
    assert told == {}


def test_tensorflow_is_told_megabytes_of_each_gpu():
    limits: dict[str, list[int]] = {}
    gpus = ["GPU:0", "GPU:1"]
    config = SimpleNamespace(
        list_physical_devices=lambda kind: gpus if kind == "GPU" else [],
        LogicalDeviceConfiguration=lambda memory_limit: memory_limit,
        set_logical_device_configuration=lambda gpu, to: limits.update({gpu: to}),
    )
    tensorflow = SimpleNamespace(config=config)
    assert tell_tensorflow(tensorflow, Part(GIB, 0.5)) == "1024 MiB of each GPU's memory"
    assert limits == {"GPU:0": [1024], "GPU:1": [1024]}
    limits.clear()
    gpus.clear()
    assert tell_tensorflow(tensorflow, Part(GIB, 0.5)) == ""
    assert limits == {}


@pytest.mark.slow
def test_a_framework_is_told_when_it_is_imported_and_is_whole_then(tmp_path: Path):
    (tmp_path / "late.py").write_text("VALUE = 7\n")
    subprocess.run(
        [sys.executable, "-c", EARLY], check=True, cwd=tmp_path,
        env={"PYTHONPATH": str(tmp_path), frameworks.BYTES: "1024", frameworks.FRACTION: "0.25"},
    )  # fmt: skip


@pytest.mark.slow
def test_one_that_cannot_be_told_runs_all_the_same(tmp_path: Path):
    (tmp_path / "late.py").write_text("VALUE = 7\n")
    refuses = EARLY.split("frameworks.TELL")[0] + (
        "def refuse(module, part):\n    raise RuntimeError('no')\n"
        "frameworks.TELL = {'late': refuse}\nframeworks.prepare()\n"
        "import late\nassert late.VALUE == 7\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", refuses], check=True, cwd=tmp_path, capture_output=True, text=True,
        env={"PYTHONPATH": str(tmp_path), frameworks.BYTES: "1024"},
    )  # fmt: skip
    assert "late can't be told its part of a GPU's memory: no" in done.stderr
