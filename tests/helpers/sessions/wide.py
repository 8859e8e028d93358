"""Of a session that tests/kernel/test_beside.py starts: in another pytest, on all processors."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from helpers.beside import KEPT


@pytest.mark.wide
def test_wide() -> None:
    assert ",".join(map(str, os.sched_getaffinity(0))) == os.environ["OTTER_SESSION_PROCESSORS"]
    assert Path(os.environ[KEPT]).parent.match("otter-beside-*")
    assert Path(os.environ[KEPT]).is_dir()
