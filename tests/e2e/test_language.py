"""The language with the installed commands: folders, what is refused, counts on a real mesh."""

from __future__ import annotations

import json
import subprocess

import pytest
from helpers.otter import BIN, Otter

pytestmark = pytest.mark.netns

MANY = """
name = "many"
[defaults.module]
runtime = "process"
[hosts.hub]
[hosts.client]
count = 2
[[links]]
between = ["client-*", "hub"]
[modules.server]
host = "hub"
command = ["python3", "-m", "http.server", "8000"]
ready = { tcp = 8000 }
[modules.probe]
host = "client-*"
command = ["sleep", "1000"]
"""


@pytest.fixture
def idle_otter():
    """Commands only: no agent may be started by what is tried here."""
    one = Otter()
    yield one
    assert one.agent_pid is None
    assert not one.processes()
    one.close()


def test_a_growing_count_restarts_nothing(shared_otter):
    otter = shared_otter
    applied = otter("apply", otter.topology(MANY))
    assert "many: 3 modules ready" in applied.stdout
    before = {m["name"]: m["pid"] for m in otter.json("status")["modules"]}
    assert set(before) == {"server", "probe-client-1", "probe-client-2"}

    file = otter.topology(MANY.replace("count = 2", "count = 4"))
    planned = otter("plan", file).stdout
    assert "hosts client -> client-1, client-2, client-3, client-4 (4, count)" in planned
    assert "modules probe -> probe-client-1" in planned
    assert "restarts" not in planned
    otter("apply", file)
    after = {m["name"]: m["pid"] for m in otter.json("status")["modules"]}
    assert len(after) == 5
    assert before.items() <= after.items()
    fetch = "import urllib.request as u; print(u.urlopen('http://server:8000/').status)"
    for probe in ("probe-client-1", "probe-client-4"):
        assert otter("exec", probe, "--", "python3", "-c", fetch).stdout == "200\n"


def test_a_machine_that_is_not_reached_is_planned_by_nobody(shared_otter):
    far = '[machines.far]\nssh = "nobody@127.0.0.1:1"\n[hosts.there]\nmachine = "far"\n'
    file = shared_otter.topology(MANY + far)
    shared_otter("validate", file)
    for verb in ("plan", "apply"):
        assert "far: can't be reached by SSH: " in shared_otter(verb, file, code=1).stderr
    assert shared_otter.json("ls") == []


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "parts" / ".hidden").mkdir(parents=True)
    (tmp_path / "parts" / ".hidden" / "x.toml").write_text("= =")
    (tmp_path / "parts" / "base.toml").write_text("[hosts.a]\n")
    (tmp_path / "good.toml").write_text('include = ["parts/base.toml"]\nname = "m"\n')
    (tmp_path / "notes.txt").write_text("")
    return tmp_path


def test_a_folder_of_sound_files(idle_otter, folder):
    done = idle_otter("validate", folder)
    assert done.stdout.splitlines() == [
        f"{folder}/good.toml: ok (1 hosts, 0 links, 0 modules, 0 streams)",
        f"{folder}/parts/base.toml: part of {folder}/good.toml",
    ]
    assert idle_otter.json("validate", folder)["problems"] == []


def test_run_folders_are_no_topologies(idle_otter, folder):
    """Paths in their copies lead elsewhere: a project that ran once is as sound as before."""
    run = folder / "runs" / "m" / "20261128-093616"
    (run / "applied" / "1").mkdir(parents=True)
    (run / "run.json").write_text("{}")
    for place in (run, run / "applied" / "1"):
        (place / "topology.toml").write_text('include = ["parts/base.toml"]\nname = "m"\n')
    assert idle_otter("validate", folder).stderr == ""
    assert len(idle_otter.json("validate", folder)["files"]) == 2
    assert "topology.toml" in idle_otter("validate", run, code=2).stderr  # asked for by name


def test_a_folder_with_a_bad_file(idle_otter, folder):
    (folder / "bad.toml").write_text('name = "m"\n[hosts.a]\ncpuu = 1\nx = 2\n')
    done = idle_otter("validate", folder, code=2)
    assert f"{folder}/bad.toml:3: hosts.a.cpuu: unknown key" in done.stderr
    assert f"{folder}/good.toml: ok" in done.stdout
    report = idle_otter.json("validate", folder, code=2)
    assert len(report["files"]) == 3
    assert [(p["file"], p["line"]) for p in report["problems"]] == [
        (f"{folder}/bad.toml", 3), (f"{folder}/bad.toml", 4),
    ]  # fmt: skip


def test_a_part_is_not_hidden_when_it_is_asked_for_by_name(idle_otter, folder):
    part = folder / "parts" / "base.toml"
    assert "missing key `name`" in idle_otter("validate", folder / "good.toml", part, code=2).stderr


def test_parts_of_a_bad_file_are_told_with_it(idle_otter, folder):
    (folder / "good.toml").write_text('include = ["parts/base.toml"]\nname = "m"\nx = 1\n')
    (folder / "parts" / "base.toml").write_text("[hosts.a]\ncpuu = 1\n")
    done = idle_otter("validate", folder, code=2)
    assert [line.partition(": ")[0] for line in done.stderr.splitlines()] == [
        f"{folder}/good.toml:3", f"{folder}/parts/base.toml:2",
    ]  # fmt: skip
    assert done.stdout == f"{folder}/parts/base.toml: part of {folder}/good.toml\n"


def test_a_folder_with_what_cannot_be_read(idle_otter, folder):
    (folder / "loop.toml").symlink_to("loop.toml")
    (folder / "gone.toml").symlink_to("nowhere")
    done = idle_otter("validate", folder, code=2)
    assert f"{folder}/loop.toml:1: can't be read: Too many levels of symbolic" in done.stderr
    assert f"{folder}/gone.toml:1: can't be read: No such file" in done.stderr
    assert f"{folder}/good.toml: ok" in done.stdout


def test_what_set_brought_is_told_as_such(idle_otter, folder):
    file = folder / "parts" / "base.toml"
    args = ("validate", file, "--set", "name=m", "--set", "hosts.a.cpu=x")
    (problem,) = idle_otter.json(*args, code=2)["problems"]
    assert (problem["set"], problem["key"]) == ("hosts.a.cpu=x", "hosts.a.cpu")


def test_folders_without_files(idle_otter, tmp_path):
    said = idle_otter("validate", tmp_path, code=2).stderr
    assert said == f"{tmp_path}: holds no *.toml file\n"


def test_the_schema_on_the_command_line(idle_otter):
    assert json.loads(idle_otter("schema").stdout)["properties"]["hosts"]
    assert json.loads(idle_otter("schema", "--site").stdout)["required"] == ["machines"]


def test_another_site_file(idle_otter, tmp_path):
    (tmp_path / "site.toml").write_text('[machines.far]\nssh = "me@far"\n')
    file = idle_otter.topology('name = "m"\n[hosts.a]\nmachine = "far"\n')
    assert "unknown machine `far`" in idle_otter("validate", file, code=2).stderr
    idle_otter("validate", file, "--site", tmp_path / "site.toml")
    env = {**idle_otter.env, "OTTER_SITE": str(tmp_path / "site.toml")}
    subprocess.run([BIN / "otterctl", "validate", file], env=env, check=True, capture_output=True)
    missing = idle_otter("validate", file, "--site", tmp_path / "no.toml", code=2).stderr
    assert "no.toml:1: can't be read" in missing
