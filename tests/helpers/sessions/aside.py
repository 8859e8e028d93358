"""Of a session that tests/kernel/test_beside.py starts: in another pytest."""

from __future__ import annotations

import atexit
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

FOLDER = Path(os.environ["TMPDIR"])


@pytest.fixture(scope="session")
def made() -> Iterator[None]:
    (FOLDER / "made").touch()
    yield
    (FOLDER / "made").unlink()


@pytest.mark.aside
def test_aside(made: None) -> None:
    end = os.environ["OTTER_SESSION_END"]
    if end == "passed badly":
        atexit.register(os._exit, 7)  # after all reports
    elif end != "passed":
        signal.pause()
    processors = ",".join(map(str, os.sched_getaffinity(0)))
    (FOLDER / "aside").write_text(f"{os.getpid()} {processors}")
