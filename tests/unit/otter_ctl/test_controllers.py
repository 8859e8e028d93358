"""Whether a controller of this computer lives is known to others of it, and to nobody else."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from otter_ctl import controllers

SAY = "from otter_ctl import controllers; print(controllers.own(), flush=True); input()"


@pytest.mark.slow
def test_one_that_has_ended_is_gone_and_one_that_lives_is_not() -> None:
    assert not controllers.is_gone(controllers.own())
    child = subprocess.Popen(
        [sys.executable, "-c", SAY], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    name = child.stdout.readline().strip()
    assert not controllers.is_gone(name)
    child.kill()
    child.wait()
    child.communicate()
    assert controllers.is_gone(name)


@pytest.mark.parametrize("name", ["", "x", "other-boot.4026531836.1.5", "a.b.c.d", "...."])
def test_of_others_nothing_is_known(name: str) -> None:
    assert not controllers.is_gone(name)


def test_another_process_of_the_same_pid_is_another_one() -> None:
    assert controllers.is_gone(f"{controllers.own()}9")


@pytest.mark.slow
def test_where_others_processes_are_not_shown_one_that_lives_is_not_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on machines of many users: procfs is mounted there with `hidepid`."""
    child = subprocess.Popen(
        [sys.executable, "-c", SAY], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    name = child.stdout.readline().strip()
    for shown in ("sys", "self"):
        (tmp_path / shown).symlink_to(f"/proc/{shown}")
    monkeypatch.setattr(controllers, "_PROC", tmp_path)
    assert not controllers.is_gone(name)
    child.kill()
    child.communicate()
    assert controllers.is_gone(name)
