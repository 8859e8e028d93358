from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from helpers import labs

from otter_ctl.lab.lab import Lab

USER, PASSWORD = "alice", "correct horse"

BUILD_S = 300.0
"""An image may be built meanwhile, beside other tests."""


class Controller:
    """`otterctl` with a site file of the test's own, that begins empty, and the lab's SSH."""

    def __init__(self, lab: Lab, folder: Path) -> None:
        self.lab = lab
        self.site = folder / "site.toml"
        self.config = lab.folder / "ssh_config"
        self.packages: Path | None = None

    def __call__(self, *arguments: object, code: int | None = 0, **env: str) -> str:
        process = self.start(*arguments, **env)
        try:
            said = "".join(process.communicate(timeout=BUILD_S))
        finally:
            process.kill()
        assert code is None or process.returncode == code, (
            f"{arguments}: {process.returncode}\n{said}"
        )
        assert "Traceback" not in said
        assert PASSWORD not in said
        return said

    def start(self, *arguments: object, **env: str) -> subprocess.Popen[str]:
        own = {name: value for name, value in os.environ.items() if "SUDO" not in name}
        own |= {"OTTER_SITE": str(self.site), "NO_COLOR": "1", **env}
        if self.packages is not None:
            own["PYTHONPATH"] = str(self.packages)
        return subprocess.Popen(
            [sys.executable, "-m", "otter_ctl", *map(str, arguments)],
            env=own,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            stdin=subprocess.DEVNULL,
            cwd=self.site.parent,
        )

    def add(self, target: str, *arguments: object, code: int = 0, **env: str) -> str:
        words = ("machine", "add", target, "--ssh-config", self.config, "--yes", *arguments)
        return self(*words, code=code, **env)


@pytest.fixture(scope="module")
def bare(require):
    """A lab of two bare machines; on lab2 is a user who may use sudo with a password."""
    why = labs.unavailable()
    require("netns", not why, why)
    with labs.new_folder() as folder:
        lab = Lab(folder)
        lab.up(2, docker=False, bare=True, layers=labs.layers())
        labs.ssh(lab, "lab2", f"useradd -m -s /bin/sh -G sudo {USER}")
        labs.ssh(lab, "lab2", f"echo '{USER}:{PASSWORD}' | chpasswd")
        yield lab


@pytest.fixture
def otterctl(bare, tmp_path):
    return Controller(bare, tmp_path)
