"""Fixtures: `otter` (an agent of the test's own, no engine), `shared_otter` (one for all tests)."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from helpers.beside import KEPT
from helpers.otter import Otter


@pytest.fixture
def otter(require):
    """An `Otter` without a Docker engine; nothing of it is left afterwards."""
    require("netns", os.geteuid() == 0 and shutil.which("ip"), "not root")
    one = Otter()
    yield one
    one.close()


@pytest.fixture(scope="session")
def session_otter(require):
    """One `Otter` for all tests that may share its environments; use `shared_otter`."""
    require("netns", os.geteuid() == 0 and shutil.which("ip"), "not root")
    one = Otter()
    if kept := os.environ.get(KEPT):
        one.share(Path(kept))
    yield one
    one.close()


@pytest.fixture
def shared_otter(session_otter):
    """The session's `Otter`, with no mesh before and none left after the test."""
    yield session_otter
    if session_otter.agent_pid is None:
        session_otter.serve()
    for mesh in session_otter.json("ls"):
        session_otter("destroy", "-m", mesh["mesh"], "--yes", "--no-fetch")
    assert session_otter.leftovers() == []


@pytest.fixture(scope="session")
def session_docker_otter(require, dockerd):
    """One `Otter` on the session's engine; use `docker_otter`."""
    require("netns", os.geteuid() == 0 and shutil.which("ip"), "not root")
    one = Otter(docker=dockerd.url)
    yield one
    one.close()


@pytest.fixture
def docker_otter(session_docker_otter, dockerd):
    """The session's `Otter` with an engine, with no mesh and no container left after the test."""
    otter = session_docker_otter
    yield otter
    if otter.agent_pid is None:
        otter.serve()
    for mesh in otter.json("ls"):
        otter("destroy", "-m", mesh["mesh"], "--yes", "--no-fetch")
    assert otter.leftovers() == []
    assert otter.containers(dockerd) == []
