"""Of a session that tests/kernel/test_beside.py starts: has the machine to itself."""

from __future__ import annotations

import os
from pathlib import Path

PROCESSORS = os.sched_getaffinity(0)


def test_timed() -> None:
    folder = Path(os.environ["TMPDIR"])
    pid, processors = (folder / "aside").read_text().split()
    assert pid != str(os.getpid())
    assert len(processors.split(",")) < len(PROCESSORS)
    assert os.sched_getaffinity(0) == PROCESSORS
    assert not list(folder.glob("otter-guest-*"))
    (folder / "aside").unlink()
