"""Where an agent is, by who runs it."""

from __future__ import annotations

from pathlib import Path

from otter_agent.api.places import MACHINE, places_of

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
