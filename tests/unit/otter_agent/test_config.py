"""The agent's configuration file: what it may say, and what is said of what it may not."""

from __future__ import annotations

import grp
from pathlib import Path

import pytest

from otter_agent.api.places import places_of
from otter_agent.config import read, socket_group
from otter_agent.errors import AgentError
from otter_agent.ground.ground import Ground
from otter_agent.service import _group


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
    for name in ("no such group", r"no\u0000such"):
        settings = read(written(tmp_path, f'group = "{name}"\n'))
        with pytest.raises(AgentError, match=r"agent\.toml: group: this machine has no group 'no"):
            socket_group(settings)
    for wrong in ("group = 27\n", "group = []\n", 'groups = "x"\n'):
        with pytest.raises(AgentError) as caught:
            read(written(tmp_path, wrong))
        assert caught.value.code == "bad-config"


@pytest.mark.parametrize(
    ("text", "user", "said"),
    [
        ('group = "no such group"\n', "", "this machine has no group 'no such group'"),
        ('group = "root"\nmsp = true\n', "", "unknown key 'msp'; did you mean 'mps'?"),
        ('group = "root"\n', "ada", "the agent of ada serves nobody else"),
    ],
)
def test_an_agent_serves_fewer_people_rather_than_none(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, user: str, said: str
) -> None:
    """A machine may know a group a while after it has started: its modules are to be kept."""
    written(tmp_path, text)
    assert _group(Ground(places=places_of(tmp_path, 0, {}), user=user)) == -1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("otter-agent: ")
    assert said in line
    assert "its socket is its own group's" in line


def test_what_is_right_is_not_spoken_of(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one = grp.getgrall()[0]
    written(tmp_path, f'group = "{one.gr_name}"\n')
    assert _group(Ground(places=places_of(tmp_path, 0, {}))) == one.gr_gid
    assert capsys.readouterr().err == ""
