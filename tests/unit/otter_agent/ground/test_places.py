"""Where an agent is, by who runs it."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace

from otter_agent.api.places import MACHINE, places_of, strangers

HOME = {"HOME": "/home/ada"}


def test_roots_is_the_machines() -> None:
    assert places_of(None, 0, {"XDG_RUNTIME_DIR": "/run/user/0", **HOME}) == MACHINE


def test_a_users_is_in_the_users_own_folders() -> None:
    env = {**HOME, "XDG_RUNTIME_DIR": "/run/user/7", "XDG_CONFIG_HOME": "/home/ada/etc"}
    found = places_of(None, 7, env)
    assert found.run == Path("/run/user/7/otter")
    assert found.lib == Path("/home/ada/.local/state/otter")
    assert found.config == Path("/home/ada/etc/otter/agent.toml")


def test_without_a_session_sockets_are_where_only_the_user_writes() -> None:
    assert places_of(None, 7, HOME).run == Path("/home/ada/.local/state/otter/run")


def test_a_relative_folder_counts_as_not_set() -> None:
    env = {**HOME, "XDG_RUNTIME_DIR": "run", "XDG_STATE_HOME": "state"}
    assert places_of(None, 7, env) == places_of(None, 7, HOME)


def test_a_root_holds_all_whoever_asks() -> None:
    for uid in (0, 7):
        found = places_of(Path("/srv/x"), uid, HOME)
        assert (found.run, found.lib) == (Path("/srv/x/run"), Path("/srv/x/lib"))
        assert found.config == Path("/srv/x/agent.toml")


def test_somebody_elses_folder_is_not_trusted(tmp_path, monkeypatch) -> None:
    """Who has XDG_RUNTIME_DIR=/tmp finds there what anybody has put there."""
    run = tmp_path / "otter"
    assert strangers(run, os.geteuid() + 1) == ""  # to be made yet
    run.mkdir()
    mine = run.stat().st_uid
    assert strangers(run, mine) == ""
    link = tmp_path / "link"
    link.symlink_to(run)
    owners = {str(run): mine, str(link): mine + 7}
    monkeypatch.setattr(os, "lstat", lambda path: SimpleNamespace(st_uid=owners[str(path)]))
    assert f"(uid {mine + 7})" in strangers(link, mine)
    owners[str(run)] = 0
    assert strangers(run, mine) == ""  # root may do all anyway
    monkeypatch.undo()
    if mine == 0:
        os.chown(run, 7, 7)
        assert "another user (uid 7)" in strangers(run, 1000)
