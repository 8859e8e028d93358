"""A process that runs before others stands back when it would take the machine for itself."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

pytestmark = [pytest.mark.timed, pytest.mark.netns]

GUARDED = """
import os, sys, time
from otter_agent.links.realtime import Guard
guard = Guard(time.monotonic(), time.process_time())
if not guard.first:
    print("not allowed")
    sys.exit()
end = time.monotonic() + 60
while os.sched_getscheduler(0) & ~os.SCHED_RESET_ON_FORK == os.SCHED_FIFO:
    assert time.monotonic() < end, "it keeps the machine for itself"
    if "look" in sys.argv and guard.due(time.monotonic()):
        guard.look(time.monotonic(), time.process_time())
print("stands back", guard.first)
"""


@pytest.mark.parametrize("words", [["look"], []])
def test_a_process_that_never_waits_stands_back(words: list[str], require):
    require("netns", os.geteuid() == 0, "not root")
    argv = [sys.executable, "-c", GUARDED, *words]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    if done.stdout == "not allowed\n":
        pytest.skip("nobody runs before others here")
    assert done.stdout == "stands back False\n"


CHARGED = """
from otter_agent.links.realtime import Guard
guard = Guard(0.0, 0.0)
if not guard.first:
    print("not allowed")
    raise SystemExit
used = 0.0
for number, share in enumerate((0.2, 0.95, 0.6, 0.9, 0.2, 0.9, 0.9), 1):
    used += share / 10
    guard.look(number / 10, used)
    print(share, guard.first)
"""


def test_a_process_that_was_charged_with_others_time_stays_where_it_is(require):
    require("netns", os.geteuid() == 0, "not root")
    argv = [sys.executable, "-c", CHARGED]
    done = subprocess.run(argv, capture_output=True, text=True, check=True)
    if done.stdout == "not allowed\n":
        pytest.skip("nobody runs before others here")
    said = [line.split()[1] for line in done.stdout.splitlines()]
    assert said == ["True"] * 6 + ["False"]
