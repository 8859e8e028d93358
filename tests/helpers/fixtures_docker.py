"""Fixtures with a real Docker engine. Loaded by tests/conftest.py."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from helpers.dockerd import Dockerd, unavailable
from helpers.images import busybox_root, scratch_root, static_busybox


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
