"""Machines of a lab are known without being told, the user's own come first, a named file alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from otter_ctl.topology.site import known_machines


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "lab").mkdir()
    (tmp_path / "lab/site.toml").write_text('[machines.lab1]\n[machines.lab2]\nssh = "of-lab"\n')
    (tmp_path / "otter").mkdir()
    (tmp_path / "otter/site.toml").write_text('[machines.lab2]\nssh = "own"\n[machines.pi]\n')
    (tmp_path / "named.toml").write_text("[machines.other]\n")
    monkeypatch.setenv("OTTER_LAB", str(tmp_path / "lab"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.delenv("OTTER_SITE", raising=False)
    return tmp_path


def test_the_lab_is_added_to_the_users_own(files: Path) -> None:
    found = known_machines(None)
    assert set(found) == {"lab1", "lab2", "pi"}
    assert found["lab2"].ssh == "own"


def test_each_alone(files: Path) -> None:
    (files / "otter/site.toml").unlink()
    assert set(known_machines(None)) == {"lab1", "lab2"}
    (files / "lab/site.toml").unlink()
    assert known_machines(None) == {}


def test_a_file_that_is_named_is_all_there_is(files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert set(known_machines(files / "named.toml")) == {"other"}
    monkeypatch.setenv("OTTER_SITE", str(files / "named.toml"))
    assert set(known_machines(None)) == {"other"}
