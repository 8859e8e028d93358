"""Images for the tests of foreign modules: what the shipped Dockerfiles start from, and a probe."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from helpers import images, registry
from helpers.dockerd import Dockerd

HERE = Path(__file__).parent
FOREIGN = HERE.parents[2] / "topologies" / "foreign"


@pytest.fixture(scope="session")
def gcc_image(dockerd: Dockerd, require) -> None:
    """`gcc:12`, made of this machine's compiler."""
    tools = all(shutil.which(tool) for tool in ("gcc", "ldd", "dpkg"))
    require("docker", tools, "no gcc (apt: gcc libc6-dev)")
    dockerd.import_image("gcc:12", registry.gcc_root())


@pytest.fixture(scope="session")
def hub_busybox(dockerd: Dockerd, busybox_image: str) -> None:
    """`busybox:1.36`, made of this machine's."""
    dockerd.tag(busybox_image, "busybox:1.36")


@pytest.fixture(scope="session")
def mosquitto_image(dockerd: Dockerd, python_root: str) -> None:
    """`otter-foreign/mosquitto:1`, by its own Dockerfile, whose apt-get needs a network."""
    dockerd.tag(python_root, "debian:bookworm-slim")
    dockerd.build("otter-foreign/mosquitto:1", registry.folder_tar(FOREIGN / "mqtt"))


@pytest.fixture(scope="session")
def probe(tmp_path_factory: pytest.TempPathFactory, require) -> bytes:
    """The program of probe.c, static."""
    require("docker", shutil.which("gcc") is not None, "no gcc (apt: gcc libc6-dev)")
    made = tmp_path_factory.mktemp("probe") / "probe"
    command = ["gcc", "-static", "-O2", "-w", "-o", made, HERE / "probe.c"]
    subprocess.run(command, check=True, capture_output=True)
    return made.read_bytes()


@pytest.fixture
def probe_image(dockerd: Dockerd, probe: bytes) -> Callable[..., str]:
    """Make an image from scratch that holds `/srv/bin/probe`: lines of a Dockerfile, more files."""

    def make(*lines: str, files: dict[str, bytes] | None = None) -> str:
        dockerfile = "\n".join(["FROM scratch", "COPY srv /srv", *lines]).encode()
        context = {"Dockerfile": dockerfile, "srv/bin/probe": probe, **(files or {})}
        dockerd.build("otter-test/probe:1", images.tar(context))
        return "otter-test/probe:1"

    return make
