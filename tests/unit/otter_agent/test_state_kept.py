"""What is read of the state that another version has written, or that is damaged."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from helpers.world import module, spec

from otter_agent import api
from otter_agent.errors import AgentError
from otter_agent.layout import Layout
from otter_agent.machine import Config
from otter_agent.state import State, mesh_names
from otter_agent.supervision import Supervision
from otter_agent.sweeping import kept


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return Layout.at(tmp_path).database


def change(file: Path, *statements: str) -> None:
    with closing(sqlite3.connect(file)) as db, db:
        for statement in statements:
            db.execute(statement)


def schema(file: Path) -> str:
    with closing(sqlite3.connect(file)) as db:
        return str(db.execute("SELECT value FROM meta WHERE key='schema'").fetchone()[0])


@pytest.mark.parametrize("version", ["1", "3", "99"])
def test_names_are_read_of_any_version_and_nothing_is_written(
    tmp_path: Path, file: Path, version: str
) -> None:
    state = State(file)
    for name in ("two", "one"):
        state.put_mesh(spec(module(), name=name), 0, 1.0)
    assert kept(Config(root=tmp_path)) == ["one", "two"]  # beside an agent that runs
    state.close()
    change(file, f"UPDATE meta SET value='{version}' WHERE key='schema'")
    before = file.read_bytes()
    assert kept(Config(root=tmp_path)) == ["one", "two"]
    assert (file.read_bytes(), schema(file)) == (before, version)


def test_where_there_is_no_state_none_is_made(tmp_path: Path) -> None:
    assert kept(Config(root=tmp_path / "none")) == []
    assert not (tmp_path / "none").exists()


def test_a_damaged_file_is_named_in_a_line(file: Path) -> None:
    file.parent.mkdir()
    file.write_bytes(b"this is no database " * 100)
    for read in (mesh_names, State):
        with pytest.raises(AgentError) as caught:
            read(file)
        assert str(caught.value) == f"{file}: file is not a database"


def test_meshes_of_another_version_can_be_ended_though_not_read(file: Path) -> None:
    state = State(file)
    for name in ("known", "strange", "recalled"):
        state.put_mesh(spec(module(), name=name), 0, 1.0)
        state.put_supervision(name, "m", Supervision())
        state.put_note(name, "n", b"kept")
    change(
        file,
        'UPDATE meshes SET spec=\'{"name": "strange", "is": 1, "modules":'
        ' [{"runtime": "docker", "is": 2}]}\' WHERE name=\'strange\'',
        "UPDATE supervision SET body='[]' WHERE mesh='recalled'",
    )
    with pytest.raises(AgentError, match="mesh strange was written by another version") as caught:
        state.meshes()
    assert caught.value.code == "newer-state"
    assert state.runtimes() == {"docker", "fake"}

    state.end_meshes()
    found = state.meshes()
    assert all(one.destroying for one in found.values())
    assert found["known"].spec == spec(module(), name="known")
    assert found["strange"].spec == api.MeshSpec(name="strange", run="")
    assert state.note("known", "n") == b"kept"  # who is held up is let go before he is to end
    assert state.supervision("recalled") == {}
    state.close()
