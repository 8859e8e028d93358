"""Machines come into a site file and out of it, and all else stays as it is written."""

from __future__ import annotations

from pathlib import Path

import pytest

from otter_ctl.__main__ import run
from otter_ctl.errors import RemoteError
from otter_ctl.machine import sites
from otter_ctl.topology.model import Machine
from otter_ctl.topology.site import read_site

WRITTEN = """\
# My machines.
[machines.box]   # in the cellar
ssh = "root@box"

[machines.pi]
labels = ["arm"]
"""


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "site.toml"
    monkeypatch.setenv("OTTER_SITE", str(path))
    return path


def test_added_and_removed_leaves_what_was_there(site: Path) -> None:
    site.write_text(WRITTEN)
    sites.add(Machine(name="new", ssh="a@new", data="10.0.0.1", labels=("x", "y")))
    found = read_site(site)
    assert found["new"].ssh == "a@new"
    assert found["new"].labels == ("x", "y")
    assert site.read_text().startswith(WRITTEN)
    assert sites.remove("new") == site
    assert site.read_text() == WRITTEN


def test_one_that_can_not_be_written_down_is_known_before(site: Path) -> None:
    for name in ("My Box", "a.b", "x\nEND\nreboot", "box"):
        site.write_text(WRITTEN)
        with pytest.raises(RemoteError, match="can't be written"):
            sites.check(Machine(name=name, ssh="a@new"))
    sites.check(Machine(name="new", ssh="a@new"))
    assert site.read_text() == WRITTEN
    assert [path.name for path in site.parent.iterdir()] == ["site.toml"]


def test_a_file_that_is_not_there_is_made(site: Path) -> None:
    sites.add(Machine(name="new", ssh="new"))
    assert set(sites.known()) == {"new"}
    sites.remove("new")
    assert sites.known() == {}
    assert sites.remove("new") is None


def test_one_in_the_middle_is_taken_out(site: Path) -> None:
    site.write_text(WRITTEN)
    sites.remove("box")
    assert site.read_text() == '# My machines.\n[machines.pi]\nlabels = ["arm"]\n'


def test_what_would_make_no_sense_is_refused_and_nothing_is_written(site: Path) -> None:
    site.write_text(WRITTEN)
    with pytest.raises(RemoteError, match=r"can't be written.*site\.toml"):
        sites.add(Machine(name="new", ssh="new", data="not an address"))
    assert site.read_text() == WRITTEN
    assert [path.name for path in site.parent.iterdir()] == ["site.toml"]


@pytest.mark.parametrize(
    ("target", "name"),
    [
        ("alice@pi.example.org", "pi"),
        ("root@10.0.0.7", "10-0-0-7"),
        ("Box_2", "box-2"),
        ("root@fe80::1", "fe80-1"),
    ],
)
def test_names(target: str, name: str) -> None:
    assert sites.name_of(target) == name


def test_who_is_meant(site: Path) -> None:
    site.write_text(WRITTEN)
    assert sites.find("pi", None, None)[1] is True
    assert sites.find("root@box", None, None)[0].name == "box"
    machine, known = sites.find("root@other", "mine", "~/config")
    assert (machine.name, machine.ssh, known) == ("mine", "root@other", False)
    assert machine.ssh_config == str(Path("~/config").expanduser())


@pytest.mark.parametrize("option", [["--label", "jetson"], ["--data", "10.0.0.1"]])
def test_what_the_site_file_says_otherwise_is_told_and_not_ignored(site, option, capsys) -> None:
    site.write_text(WRITTEN)
    assert run(["machine", "add", "pi", *option]) == 1
    said = capsys.readouterr().err
    assert said == f"otterctl: pi: the site file says otherwise of it; change it there: {site}\n"
    assert site.read_text() == WRITTEN


@pytest.mark.parametrize(
    ("option", "said"),
    [
        (["--data", "not an address"], "can't be written to the site file"),
        (["--name", "No Name"], "can't be written to the site file"),
        (["--accept-host-key", "SHA256:short"], "a fingerprint is SHA256:…"),
        (["--ssh-config", "/nowhere/config"], "does not exist"),
    ],
)
def test_values_that_make_no_sense_are_wrong_usage(site, option, said, capsys) -> None:
    """Told before anybody is dialled."""
    assert run(["machine", "add", "root@new.invalid", "--yes", *option]) == 2
    assert said in capsys.readouterr().err
    assert not site.exists()
