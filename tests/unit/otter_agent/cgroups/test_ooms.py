"""What is counted in v2's tree; v1's is in tests/integration/docker."""

from __future__ import annotations

from pathlib import Path

import pytest

from otter_agent.cgroups.ooms import Ooms, folder_above

TREE = Path("/sys/fs/cgroup")
V1 = "4:memory:/otter-a/m/h/mod/0123\n1:cpu:/elsewhere\n0::/init\n"


def test_kills_since_it_began_are_counted(tmp_path: Path) -> None:
    events = tmp_path / "memory.events"
    events.write_text("low 0\noom 3\noom_kill 2\n")
    ooms = Ooms(tmp_path)
    assert not ooms.happened()
    events.write_text("low 0\noom 4\noom_kill 3\n")
    assert ooms.happened()
    events.unlink()
    assert ooms.happened()  # also when the group has gone
    ooms.close()


def test_where_nothing_is_counted_nothing_happened(tmp_path: Path) -> None:
    assert not Ooms(tmp_path).happened()


def test_one_that_v1_does_not_tell_raises(tmp_path: Path) -> None:
    (tmp_path / "cgroup.event_control").touch()
    with pytest.raises(FileNotFoundError):
        Ooms(tmp_path)


@pytest.mark.parametrize(
    ("text", "controller", "found"),
    [
        (V1, "memory", TREE / "otter-a/m/h/mod"),
        ("0::/otter.slice/otter-m.slice/docker-01.scope\n", "", TREE / "otter.slice/otter-m.slice"),
        (V1, "pids", None),
        ("0::/../elsewhere/01\n", "", None),  # outside of our namespace of groups
        ("0::/\n", "", None),
    ],
)
def test_the_group_above_is_found(text: str, controller: str, found: Path | None) -> None:
    assert folder_above(text, TREE, controller) == found
