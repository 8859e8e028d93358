"""Fixtures with a real Docker engine. Loaded by tests/conftest.py."""

from __future__ import annotations

import asyncio
import fcntl
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers.dockerd import Dockerd, unavailable
from helpers.images import busybox_root, scratch_root, static_busybox

from otter_agent.images.bases import find_base
from otter_agent.images.rootfs import SUITE, make_root_tar


@pytest.fixture(scope="session")
def dockerd(require) -> Iterator[Dockerd]:
    """An engine for the whole session: tests use names of their own and remove what they make."""
    require("docker", not unavailable(), unavailable())
    with Dockerd() as engine:
        yield engine


@pytest.fixture
def own_dockerd(require) -> Iterator[Dockerd]:
    """An engine for one test, which may stop, kill and restart it."""
    require("docker", not unavailable(), unavailable())
    with Dockerd() as engine:
        yield engine


@pytest.fixture(scope="session")
def docker_url(dockerd: Dockerd) -> str:
    """What DOCKER_HOST would hold."""
    return dockerd.url


@pytest.fixture(scope="session")
def busybox_image(dockerd: Dockerd, require) -> str:
    """An image with a shell and the usual tools; its own command is `sleep 3600`."""
    require("docker", static_busybox() is not None, "no static busybox (apt: busybox-static)")
    dockerd.import_image("otter-test/busybox:1", busybox_root(), 'CMD ["sleep", "3600"]')
    return "otter-test/busybox:1"


@pytest.fixture(scope="session")
def scratch_image(dockerd: Dockerd, require) -> str:
    """An image with one static program and nothing else."""
    require("docker", static_busybox() is not None, "no static busybox (apt: busybox-static)")
    changes = ('ENTRYPOINT ["/busybox", "sleep"]', 'CMD ["3600"]')
    dockerd.import_image("otter-test/scratch:1", scratch_root(), *changes)
    return "otter-test/scratch:1"


@pytest.fixture(scope="session")
def root_tar(require) -> Path:
    """A Debian root with Python, made by debootstrap once per machine and kept."""
    require("docker", shutil.which("debootstrap") is not None, "no debootstrap")
    cache = Path(os.environ.get("OTTER_TEST_CACHE", Path.home() / ".cache" / "otter-tests"))
    cache.mkdir(parents=True, exist_ok=True)
    tar = cache / f"root-{SUITE}.tar"
    with (cache / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not tar.exists():
            asyncio.run(make_root_tar(tar, lambda line: None))
    return tar


@pytest.fixture(scope="session")
def python_root(dockerd: Dockerd, root_tar: Path) -> str:
    """The root image of the shared bases."""
    root = find_base("python").root
    dockerd.import_image(root, root_tar.read_bytes())
    return root
