"""`rm` removes the packages that `add --docker` brought, and no others; apt is a stand-in."""

from __future__ import annotations

import os
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from otter_ctl.machine import packages, steps
from otter_ctl.machine.facts import parse
from otter_ctl.machine.installing import plan_remove
from otter_ctl.machine.removing import Removal

DPKG = """#!/bin/sh
for one in $(cat "$DPKG/installed"); do echo "ii $one"; done; echo "rc old"
"""
APT = """#!/bin/sh
echo "$*" >>"$DPKG/asked"
case "$*" in
*-s*purge*) shift 2; for one in "$@" $(cat "$DPKG/needing"); do echo "Purg $one [1]"; done ;;
*install*) [ ! -e "$DPKG/broken" ] || exit 100
    echo "docker.io containerd" >>"$DPKG/installed" ;;
*purge*) sed -i '/docker.io/d' "$DPKG/installed" ;;
esac
"""


class Computer:
    """Packages of a system that is nowhere: `installed`, and who asked what."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.top = folder, folder / "otter"
        for name, text in (("dpkg-query", DPKG), ("apt-get", APT)):
            path = folder / name
            path.write_text(text)
            path.chmod(0o755)
        (folder / "installed").write_text("bash runc\n")
        for name in ("needing", "asked"):
            (folder / name).touch()

    def do(self, step: steps.Step) -> subprocess.CompletedProcess[str]:
        env = {"PATH": f"{self.folder}:{os.environ['PATH']}", "DPKG": str(self.folder)}
        script = step.script.replace(steps.TOP, str(self.top))
        return subprocess.run(
            ["sh", "-euc", script], env=env, text=True, capture_output=True, check=False
        )

    @property
    def installed(self) -> list[str]:
        return (self.folder / "installed").read_text().split()

    @property
    def receipt(self) -> str:
        return (self.top / "receipt").read_text()


@pytest.fixture
def computer(tmp_path: Path) -> Computer:
    return Computer(tmp_path)


@pytest.mark.slow
def test_what_came_is_written_down_and_goes(computer: Computer) -> None:
    assert computer.do(packages.docker()).returncode == 0
    assert computer.receipt == "package containerd\npackage docker.io\n"
    assert sorted(path.name for path in computer.top.iterdir()) == ["receipt"]
    assert computer.do(packages.remove()).returncode == 0
    assert computer.installed == ["bash", "runc"]
    asked = (computer.folder / "asked").read_text().splitlines()
    assert asked[-1] == "-qq purge -y containerd docker.io"


@pytest.mark.slow
def test_what_was_cut_short_is_told_by_the_list_of_before(computer: Computer) -> None:
    (computer.folder / "broken").touch()
    assert computer.do(packages.docker()).returncode == 100
    (computer.folder / "broken").unlink()
    with (computer.folder / "installed").open("a") as file:
        file.write("docker.io\n")  # it got so far, and was killed
    assert computer.do(packages.remove()).returncode == 0
    assert computer.receipt == "package docker.io\n"
    assert computer.installed == ["bash", "runc"]


@pytest.mark.slow
def test_what_others_need_stays_and_they_are_named(computer: Computer) -> None:
    computer.do(packages.docker())
    (computer.folder / "needing").write_text("docker-compose")
    done = computer.do(packages.remove())
    assert done.returncode == 1
    assert "others need them, and would go as well: docker-compose (--keep-docker)" in done.stderr
    assert "docker.io" in computer.installed
    early = computer.do(packages.removable())  # before meshes are ended
    assert (early.returncode, early.stderr) == (1, done.stderr)
    (computer.folder / "needing").write_text("")
    assert computer.do(packages.removable()).returncode == 0
    assert "docker.io" in computer.installed


def test_an_engine_that_was_there_before_is_left() -> None:
    found = parse("user=root\nuid=0\nsystem=Linux\nroot=root\nend=yes\n")
    assert found is not None
    found = replace(found, release="1.0-abc", docker="24.0")

    def titles(**more: bool) -> list[str]:
        return [step.title for step in plan_remove(brought, Removal("pi"), **more).steps]

    brought = found
    assert not any("packages" in title for title in titles())
    brought = replace(found, installed=True)
    assert titles()[0].startswith("see that nothing else needs the packages")
    ends = [title.split()[0] for title in titles()]  # images go while the engine is there
    assert ends == ["see", "see", "stop", "remove", "remove", "remove", "remove"]
    assert [title.split()[2] for title in titles()[3:5]] == ["images", "packages"]
    assert not any("packages" in title for title in titles(keep_docker=True))
