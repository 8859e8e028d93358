"""Of a session that tests/kernel/test_beside.py starts: judges no time, may be its last test."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from helpers.otter import wait_for

PROCESSORS = os.sched_getaffinity(0)


@pytest.mark.untimed
def test_untimed() -> None:
    folder = Path(os.environ["TMPDIR"])
    wait_for(lambda: [*folder.glob(os.environ["OTTER_SESSION_UNTIL"])], "nothing runs beside")
    assert os.sched_getaffinity(0) == PROCESSORS - {max(PROCESSORS)}
    end = os.environ["OTTER_SESSION_END"]
    assert end != "failed"
    if not end.startswith("passed"):
        os.kill(os.getpid(), {"interrupted": signal.SIGINT, "killed": signal.SIGKILL}[end])
