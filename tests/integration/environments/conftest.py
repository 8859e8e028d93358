from __future__ import annotations

import asyncio
import os
import shutil
import zipfile
from pathlib import Path

import pytest
from helpers.byhand import MODULES, environment

from otter_agent.images.wheelhouse import Wheelhouse, requirements_of
from otter_agent.layout import Layout
from otter_agent.runtimes.base import Artifact


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that is all that pip finds packages in."""
    folder = tmp_path / "index"
    folder.mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.delenv("PIP_EXTRA_INDEX_URL", raising=False)
    monkeypatch.setenv("PIP_CACHE_DIR", str(tmp_path / "cache"))
    return folder


@pytest.fixture(scope="session")
def root(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where environments are made: with root those of the agent that other tests share.

    They take gigabytes and minutes; their store is made to be shared.
    """
    if os.geteuid() == 0 and shutil.which("ip"):
        shared: Path = request.getfixturevalue("session_otter").root / "a"
        return shared
    return tmp_path_factory.mktemp("shipped")


@pytest.fixture(scope="session")
def plain(root: Path) -> Artifact:
    """A module with nothing but `net`."""
    return asyncio.run(environment(root, "print_text"))


@pytest.fixture(scope="session")
def speech(root: Path) -> Artifact:
    return asyncio.run(environment(root, "speech_to_text", "torch"))


@pytest.fixture(scope="session")
def image_analysis(root: Path) -> Artifact:
    return asyncio.run(environment(root, "image_analysis", "torch"))


@pytest.fixture(scope="session")
def voice(root: Path) -> Artifact:
    return asyncio.run(environment(root, "text_to_speech"))


@pytest.fixture(scope="session")
def packages(
    root: Path, image_analysis: Artifact, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """What image_analysis is prepared from, unpacked."""
    text = (MODULES / "image_analysis" / "requirements-prepare.txt").read_text()
    wheelhouse = Wheelhouse(Layout.at(root).wheels)
    wheels = asyncio.run(wheelhouse.fetch(requirements_of(text), no_deps=True, log=print))
    folder = tmp_path_factory.mktemp("packages")
    for wheel in wheels.glob("*.whl"):
        zipfile.ZipFile(wheel).extractall(folder)
    return folder
