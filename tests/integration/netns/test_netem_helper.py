"""The process that makes changes of kernel links: there before it is asked for anything.

It needs no netem for that.
"""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path

from helpers.link_bench import wait_until

from otter_agent import beside
from otter_agent.links.netem import NetemDriver
from otter_agent.links.netem.playing.protocol import Request


def test_it_is_there_soon_where_changes_are_expected_and_nobody_waits(tmp_path: Path) -> None:
    driver = NetemDriver(tmp_path)
    try:
        planner = driver.planner()
        with driver._players._guard:  # type: ignore[union-attr]  # it can't have been started yet
            planner.expect()
            assert driver.pid == 0
        wait_until(lambda: driver.pid)
        pid = driver.pid
        planner.expect()
        assert driver.pid == pid
    finally:
        driver.end()
    assert not (tmp_path / "netem.s").exists()


def test_one_that_ended_before_it_was_asked_for_anything_is_none(tmp_path: Path) -> None:
    """It does when modules take long to be ready: the first changes were lost with it."""
    driver = NetemDriver(tmp_path)
    try:
        planner = driver.planner()
        planner.expect()
        wait_until(lambda: planner.ready)
        os.kill(first := driver.pid, signal.SIGKILL)
        wait_until(lambda: not planner.ready)
        assert driver._players is not None
        assert driver._players.ask(Request(kind="plan", mesh="m")).pid not in (0, first)
        assert planner.ready
    finally:
        driver.end()


def test_none_is_started_after_the_end(tmp_path: Path) -> None:
    driver = NetemDriver(tmp_path)
    planner = driver.planner()
    with driver._players._guard:  # type: ignore[union-attr]
        planner.expect()
        driver.end()
    wait_until(lambda: not _starting())
    assert beside.connected(tmp_path / "netem.s") is None


def _starting() -> bool:
    return any(one.name == "otter-links-start" for one in threading.enumerate())
