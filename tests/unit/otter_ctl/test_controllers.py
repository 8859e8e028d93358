"""Whether a controller of this computer lives is known to others of it, and to nobody else."""

from __future__ import annotations

import subprocess
import sys

import pytest

from otter_ctl import controllers

SAY = "from otter_ctl import controllers; print(controllers.own(), flush=True); input()"


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
