"""What frameworks are told of their part of a GPU's memory, before they begin or after."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from net import frameworks
from net.frameworks import Part, part

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
