"""The wheel that machines get: whole, what pip takes, named by its content."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from otter_ctl.machine.wheel import own_wheel, requirements


@pytest.mark.slow
def test_it_holds_the_packages_and_their_data(tmp_path: Path) -> None:
    path = tmp_path / own_wheel().file_name
    path.write_bytes(own_wheel().content)
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        names = set(archive.namelist())
    assert {"otter_agent/__main__.py", "net/py.typed", "modules/hello/Dockerfile"} <= names
    assert "otter_ctl/machine/data/probe.sh" in names
    assert {name.split("/")[0].partition("-")[0] for name in names} == {
        "modules", "net", "otter_agent", "otter_ctl", "otter_mesh",
    }  # fmt: skip
    assert not [name for name in names if name.endswith(".pyc")]


@pytest.mark.slow
def test_pip_installs_it(tmp_path: Path) -> None:
    path = tmp_path / own_wheel().file_name
    path.write_bytes(own_wheel().content)
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index"]
    subprocess.run([*pip, "--no-compile", "--target", tmp_path / "there", path], check=True)
    agent = tmp_path / "there/bin/otter-agent"
    assert "otter_agent.__main__" in agent.read_text()


@pytest.mark.slow
def test_its_build_is_its_content() -> None:
    assert own_wheel().release == f"{own_wheel().version}-{own_wheel().build}"
    assert len(own_wheel().build) == 8


def test_what_an_agent_requires() -> None:
    found = requirements("agent")
    assert any(line.startswith("aiohttp") for line in found)
    assert any(line.startswith("numpy") for line in found)
    assert not any(line.startswith(("click", "pytest")) for line in found)
