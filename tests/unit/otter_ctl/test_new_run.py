"""Ids of runs: times that people read, and never those of a folder that is there."""

from __future__ import annotations

import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from otter_ctl.cli.preparing import new_run


def test_runs_of_one_second_have_folders_of_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(time, "strftime", lambda _: "20261129-212010")
    session: Any = SimpleNamespace(runs=tmp_path)
    ids = []
    for _ in range(3):
        ids.append(new_run(session, "lab"))
        (tmp_path / "lab" / ids[-1]).mkdir(parents=True)
    assert ids == ["20261129-212010", "20261129-212010-2", "20261129-212010-3"]
    assert new_run(session, "other") == "20261129-212010"
