"""The wheel that machines get: whole, what pip takes, named by its content."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from otter_ctl.machine import wheel
from otter_ctl.machine.wheel import own_wheel, requirements

ROOT = Path(__file__).parents[4]


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
def test_its_build_is_its_sources(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of one commit it is the same on Windows, where nothing is compiled, as on Linux."""
    own = own_wheel()
    assert own.release == f"{own.version}-{own.build}"
    assert len(own.build) == 8
    files = dict(wheel._package_files(ROOT))

    def build(**changes: bytes) -> str:
        monkeypatch.setattr(wheel, "_package_files", lambda _: (files | changes).items())
        return own_wheel.__wrapped__().build

    assert build() == own.build
    assert build(**{"net/_short.abi3.so": b"\x7fELF", "net/_short.pyd": b"MZ"}) == own.build
    assert build(**{"net/more.py": b"1\n"}) != own.build
    monkeypatch.setattr(wheel, "_metadata", lambda _: "Metadata-Version: 9\n")
    assert build() == own.build, "it was installed by another setuptools"
    monkeypatch.setattr(wheel, "requirements", lambda _: ["numpy>=99"])
    assert build() != own.build


@pytest.mark.slow
def test_git_leaves_line_ends_as_they_are_on_windows(tmp_path: Path) -> None:
    """Where it is set up to make CRLF of them: scripts are sent, and the build is their digest."""
    if shutil.which("git") is None:
        pytest.skip("no git")

    def git(*words: str) -> None:
        own = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}
        ends = ("-c", "core.autocrlf=true", "-c", "core.eol=crlf", "-c", "core.safecrlf=false")
        user = ("-c", "user.name=a", "-c", "user.email=a@example.org")
        command = ["git", *ends, *user, "-C", str(tmp_path), *words]
        subprocess.run(command, check=True, capture_output=True, env={**os.environ, **own})

    names = ("otter_ctl/machine/data/probe.sh", "net/errors.py", "examples/data/chelsea.png")
    for name in (".gitattributes", *names):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    git("init", "-q")
    git("add", ".")
    git("commit", "-q", "-m", "all")
    for name in names:
        (tmp_path / name).unlink()
    git("checkout", "--", ".")
    for name in names:
        assert (tmp_path / name).read_bytes() == (ROOT / name).read_bytes(), name


def test_what_an_agent_requires() -> None:
    found = requirements("agent")
    assert any(line.startswith("aiohttp") for line in found)
    assert any(line.startswith("numpy") for line in found)
    assert not any(line.startswith(("click", "pytest")) for line in found)
