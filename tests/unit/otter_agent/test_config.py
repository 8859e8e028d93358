"""The agent's configuration file: what it may say, and what is said of what it may not."""

from __future__ import annotations

import grp
from pathlib import Path

import pytest

from otter_agent.config import read, socket_group
from otter_agent.errors import AgentError


def written(folder: Path, text: str) -> Path:
    file = folder / "agent.toml"
    file.write_text(text)
    return file


def test_without_a_file_the_socket_is_of_the_agents_group(tmp_path: Path) -> None:
    assert socket_group(read(tmp_path / "none.toml")) == -1
    assert socket_group(read(written(tmp_path, "mps = false\n"))) == -1


def test_a_group_is_found_by_its_name(tmp_path: Path) -> None:
    one = grp.getgrall()[0]
    assert socket_group(read(written(tmp_path, f'group = "{one.gr_name}"\n'))) == one.gr_gid


def test_a_group_that_is_none_is_refused(tmp_path: Path) -> None:
    settings = read(written(tmp_path, 'group = "no such group"\n'))
    with pytest.raises(AgentError, match=r"agent\.toml: group: this machine has no group 'no su"):
        socket_group(settings)
    for wrong in ("group = 27\n", "group = []\n", 'groups = "x"\n'):
        with pytest.raises(AgentError) as caught:
            read(written(tmp_path, wrong))
        assert caught.value.code == "bad-config"
