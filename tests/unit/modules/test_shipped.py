"""Every shipped module has what a module folder needs, and says what it weighs on."""

from __future__ import annotations

import ast
import io
import re
from pathlib import Path

import numpy as np
import pytest

from modules.delay_meter.module import Meter
from modules.exchange_client.module import exchanges, same
from modules.exchange_server.module import answer

MODULES = sorted(f.parent for f in (Path(__file__).parents[3] / "modules").glob("*/module.py"))


def test_there_are_the_first_five() -> None:
    assert {f.name for f in MODULES} >= {
        "hello", "speech_to_text", "print_text", "exchange_server", "exchange_client",
    }  # fmt: skip


@pytest.mark.parametrize("folder", MODULES, ids=lambda f: f.name)
def test_a_module_folder_is_complete(folder: Path) -> None:
    for name in ("__init__.py", "module.py", "Dockerfile", "requirements.txt", "README.md"):
        assert (folder / name).is_file(), name


@pytest.mark.parametrize("folder", MODULES, ids=lambda f: f.name)
def test_requirements_are_pinned_and_name_their_licence(folder: Path) -> None:
    for file in folder.glob("requirements*.txt"):
        for line in file.read_text().splitlines():
            if line and not line.startswith("#"):
                assert re.fullmatch(r"[\w.-]+==[\w.]+\s+# .+", line), line


@pytest.mark.parametrize("folder", MODULES, ids=lambda f: f.name)
def test_dockerfiles_copy_files_that_are_there(folder: Path) -> None:
    text = (folder / "Dockerfile").read_text()
    assert "FROM ${OTTER_BASE}" in text
    for line in re.findall(r"^COPY (?!--from)(.+)$", text, re.MULTILINE):
        for name in line.split()[:-1]:
            assert name.startswith(".otter/") or (folder / name).is_file(), name


@pytest.mark.parametrize("folder", MODULES, ids=lambda f: f.name)
def test_dockerfiles_copy_all_that_is_imported(folder: Path) -> None:
    """Of the module's own files; the process runtime, which has them all, wouldn't miss one."""
    text = (folder / "Dockerfile").read_text()
    for line in re.findall(r"^COPY (?!--from)(.+)$", text, re.MULTILINE):
        *names, _ = line.split()
        if any(name.endswith(".py") for name in names):
            assert {f"{one}.py" for name in names for one in imported(folder, name)} <= {*names}


def imported(folder: Path, name: str) -> set[str]:
    """Names of files beside it that a file imports; of another kind than Python none."""
    if not name.endswith(".py"):
        return set()
    found: set[str] = set()
    for node in ast.walk(ast.parse((folder / name).read_text())):
        if isinstance(node, ast.Import):
            found |= {one.name for one in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
    return {one for one in found if (folder / f"{one}.py").is_file()}


def test_the_exchange_is_answered_as_expected() -> None:
    for title, request, reply in exchanges():
        assert same(reply, answer(request)), title


def test_same_tells_apart_what_differs() -> None:
    ones = np.ones(3, np.float32)
    assert same(ones, ones.copy())
    assert not same(ones, ones.astype(np.float64))
    assert not same(ones, np.ones((3, 1), np.float32))
    assert not same(1, 1.0)
    assert not same({"a": ones}, {"a": ones * 2})
    assert not same({"a": 1}, {"a": 1, "b": 2})


def test_the_meter_tells_each_second_that_is_over() -> None:
    file = io.StringIO()
    meter = Meter(file)
    assert meter.line() == ""
    assert meter.add(100.0, 100.04) == ""
    assert meter.add(100.5, 100.56) == ""
    assert meter.add(101.0, 103.5) == "   0 s:   2 pictures,   50.0 ms ######"
    assert meter.line() == f"   3 s:   1 pictures, 2500.0 ms {'#' * 60}"
    assert file.getvalue() == "time_s,delay_ms\n0.040,40.0\n0.560,60.0\n3.500,2500.0\n"
