"""Of a session that tests/kernel/test_beside.py starts: nothing of it runs beside anything."""

from __future__ import annotations

import os

PROCESSORS = os.sched_getaffinity(0)


def test_alone() -> None:
    assert os.sched_getaffinity(0) == PROCESSORS
