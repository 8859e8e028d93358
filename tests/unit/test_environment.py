"""No test leaves the variables by which programs find their files changed."""

from __future__ import annotations

import os

import pytest
from helpers.environment import before, put_back, standing


def test_a_change_is_named_and_undone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTTER_LAB", "there")
    monkeypatch.delenv("OTTER_SITE", raising=False)
    kept = standing()
    assert kept["HOME"] == os.environ["HOME"]
    os.environ |= {"OTTER_SITE": "gone.toml", "OTTER_LAB": "elsewhere", "NO_MATTER": "1"}
    try:
        assert put_back(kept) == ["OTTER_LAB", "OTTER_SITE"]
    finally:
        del os.environ["NO_MATTER"]
    assert standing() == kept
    assert put_back(kept) == []


def test_every_test_is_looked_at(request: pytest.FixtureRequest) -> None:
    assert before in request.node.stash
