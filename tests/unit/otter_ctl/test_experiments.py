"""When an experiment is over: by its modules, and by what the timeline will still do to them."""

from __future__ import annotations

import math
import os
import signal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from net.conditions import Condition
from otter_agent import api
from otter_ctl.cli.interrupts import as_ctrl_c
from otter_ctl.cli.run import Ended
from otter_ctl.experiments import ENDED_WELL, acts_until_s
from otter_ctl.orders import Goal

WHEN = Condition(kind="module", name="b", test="state", state="done")


def modules(**states: str) -> list[Any]:
    return [SimpleNamespace(name=n, state=s, overdue=False) for n, s in states.items()]


@pytest.mark.parametrize(
    ("until", "states", "over"),
    [
        ((), {"a": "done", "b": "done"}, True),
        ((), {"a": "done", "b": "stopped"}, True),
        ((), {"a": "done", "b": "ready"}, False),
        (("a",), {"a": "done", "b": "ready"}, True),
        (("b",), {"a": "done", "b": "ready"}, False),
        (("b",), {"a": "failed", "b": "ready"}, True),
        (("b",), {"a": "restarting", "b": "ready"}, False),
    ],
)
def test_some_modules_end_is_everybodys_and_so_is_a_failure(until, states, over):
    goal = Goal(list(states), ENDED_WELL, late=True, at_once=True, until=until)
    assert goal.over(modules(**states)) is over


def event(**more: Any) -> api.TimelineEvent:
    return api.TimelineEvent(**{"at_s": 3.0, "modules": ("a",), "action": "restart", **more})


@pytest.mark.parametrize(
    ("events", "seconds"),
    [
        ([], 0.0),
        ([event()], 3.0),
        ([event(), event(at_s=1.0, action="", change={"run": "stopped"}, for_s=5.0)], 6.0),
        ([event(every_s=1.0)], math.inf),
        ([event(modules=("b",), every_s=1.0)], 0.0),
        ([event(action="", change={"cpu": 0.5}, every_s=1.0)], 0.0),
        ([event(at_s=0.0, when=WHEN)], 0.0),
    ],
)
def test_what_the_timeline_still_does_to_them_is_waited_for(events, seconds):
    assert acts_until_s(api.TimelineSpec(events=tuple(events)), ["a"]) == seconds


@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP"])
@pytest.mark.parametrize("ctrl_c", [signal.default_int_handler, signal.SIG_IGN])
def test_what_asks_for_an_end_is_as_ctrl_c_also_in_a_shells_background(name, ctrl_c):
    number = getattr(signal, name)
    before = signal.getsignal(number), signal.signal(signal.SIGINT, ctrl_c)
    try:
        with pytest.raises(KeyboardInterrupt), as_ctrl_c():
            os.kill(os.getpid(), number)
    finally:
        signal.signal(signal.SIGINT, before[1])
    assert signal.getsignal(number) == before[0]


def test_what_is_ignored_stays_so():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with as_ctrl_c():
            os.kill(os.getpid(), signal.SIGHUP)
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


@pytest.mark.parametrize(
    ("why", "states", "lasted_s", "text"),
    [
        ("done", {"a": "done"}, 0.01, "all is done after 0s; run folder runs/r"),
        ("time", {"a": "ready"}, 60.04, "its time was up after 1min; run folder runs/r"),
        ("failed", {"a": "failed", "b": "ready"}, 0.0, "a failed; run folder runs/r"),
        ("failed", {"a": "failed", "b": "failed"}, 2.0, "a, b failed after 2s; run folder runs/r"),
        (
            "failed",
            {"a": "running"},
            0.0,
            "not all modules were ready in their time; run folder runs/r",
        ),
    ],
)
def test_how_one_has_ended_is_a_sentence(why, states, lasted_s, text):
    status: Any = SimpleNamespace(modules=modules(**states), mesh="m")
    assert Ended(why, lasted_s, Path("runs/r"), status, kept=False).text() == text
