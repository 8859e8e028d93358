"""Where secrets are kept: in memory, whatever the agent's run folder lies on."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from helpers.folders import can_mount, small_disk

from otter_agent import api
from otter_agent.errors import AgentError
from otter_agent.layout import Layout
from otter_agent.secrets import MAX_BYTES, Secrets, kind_of

HOST = api.HostSpec(name="h", address="100.64.0.1", block="100.64.0.0/24")


def spec(*names, name="mesh"):
    module = api.ModuleSpec(
        name="m", host="h", address="100.64.0.2", runtime="fake", command=("x",), secrets=names
    )
    return api.MeshSpec(name=name, run="r", hosts=(HOST,), modules=(module,))


@pytest.fixture
def secrets(tmp_path, require):
    require("netns", can_mount(), "not root")
    made = Secrets(Layout.at(tmp_path))
    yield made
    made.sweep([])
    assert str(tmp_path) not in Path("/proc/self/mountinfo").read_text()
    assert not made.root.exists()


def test_on_a_disk_it_mounts_memory_until_the_last_mesh_is_gone(secrets):
    assert secrets.put(spec("A", "B"), {"A": "a", "B": "b", "C": "c"}) == set()
    assert kind_of(secrets.root) == "tmpfs"
    assert secrets.root.stat().st_mode & 0o777 == 0o700
    assert secrets.read("mesh", "m") == {"A": b"a", "B": b"b"}
    secrets.put(spec("A", name="other"), {"A": "a"})
    secrets.remove("mesh")
    assert os.path.ismount(secrets.root)
    secrets.remove("other")
    assert not os.path.ismount(secrets.root)


def test_on_a_tmpfs_nothing_is_mounted(tmp_path, require):
    require("netns", can_mount(), "not root")
    with small_disk(tmp_path / "disk", 4) as disk:
        secrets = Secrets(Layout.at(disk))
        secrets.put(spec("A"), {"A": "a"})
        assert secrets.read("mesh", "m") == {"A": b"a"}
        assert not os.path.ismount(secrets.root)
        secrets.remove("mesh")


def test_what_differs_is_told_and_what_is_not_named_is_forgotten(secrets):
    secrets.put(spec("A", "B"), {"A": "a", "B": "b"})
    assert secrets.put(spec("A", "B"), {"A": "a", "B": "b"}) == set()
    assert secrets.put(spec("A", "B"), {"A": "other"}) == {"m"}
    secrets.keep_only(spec("B"))
    assert secrets.read("mesh", "m") == {"B": b"b"}
    assert secrets.missing("mesh", spec("A", "B").modules[0]) == ["A"]
    secrets.keep_only(spec())
    assert secrets.read("mesh", "m") == {}


def test_an_image_user_owns_them_and_one_by_name_lets_all_inside_read(secrets):
    secrets.put(spec("A"), {"A": "a"})
    path = secrets.folder("mesh", "m") / "A"
    for user, expected in (("", (0, 0, 0o400)), ("1234:55", (1234, 55, 0o400)),
                           ("app", (0, 0, 0o444))):  # fmt: skip
        secrets.own("mesh", "m", user)
        facts = path.stat()
        assert (facts.st_uid, facts.st_gid, facts.st_mode & 0o777) == expected
    secrets.put(spec("A"), {"A": "another"})
    assert path.stat().st_mode & 0o777 == 0o444


def test_values_never_reach_a_disk(secrets):
    """Something lies where memory is to be mounted: it isn't covered, nothing is written."""
    secrets.root.mkdir(parents=True)
    (secrets.root / "there").mkdir()
    with pytest.raises(AgentError, match="is on a disk, and in use"):
        secrets.put(spec("A"), {"A": "a"})
    assert os.listdir(secrets.root) == ["there"]


def test_a_value_that_is_too_long(secrets):
    with pytest.raises(AgentError, match="secret 'A' is longer than"):
        secrets.put(spec("A"), {"A": "x" * (MAX_BYTES + 1)})
