"""`otterctl run`: from nothing to a run folder, whatever ends it."""

from __future__ import annotations

import json
import signal
import subprocess
from contextlib import contextmanager
from pathlib import Path

import pytest
from helpers.otter import wait_for

pytestmark = pytest.mark.netns
MESH = """
name = "experiment"
[hosts.here]
[defaults.module]
host = "here"
runtime = "process"
"""
SHORT = """
[modules.short]
command = ["sh", "-c", "echo measured; echo 1 > result.txt"]
outputs = ["result.txt"]
"""
LONG = """
[modules.long]
command = ["sh", "-c", "echo began; exec sleep infinity"]
"""
BAD = """
[modules.bad]
command = ["sh", "-c", "echo no such file >&2; exit 3"]
restart = "no"
"""


@pytest.fixture
def otter(shared_otter):
    """With nothing there, also afterwards: what a run leaves is a folder."""
    yield shared_otter
    assert shared_otter.json("ls") == []
    assert shared_otter.leftovers() == []


def result(folder: str) -> list[str]:
    """What a run's outputs and logs say."""
    outputs = [path.read_text() for path in Path(folder).glob("outputs/*/**/result.txt")]
    return outputs + [path.read_text() for path in sorted(Path(folder).glob("logs/*.log"))]


@contextmanager
def running(otter, *words, until):
    """A run that has come so far; it is ended by the test."""
    with otter.popen(*words, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as made:
        try:
            wait_for(until, "the run comes so far")
            yield made
        finally:
            made.kill()


def has_begun(otter):
    return "began" in otter("logs", "long", code=None).stdout


def test_it_ends_when_all_is_done_and_leaves_a_folder(otter):
    said = otter("run", otter.topology(MESH + SHORT))
    assert said.stdout.startswith("mesh experiment: all is done after ")
    folder = said.stdout.strip().partition("run folder ")[2]
    assert result(folder) == ["1\n", "measured\n"]


def test_each_of_several_has_a_folder_of_its_own(otter):
    told = otter.json("run", otter.topology(MESH + SHORT), "--repeat", "2")
    assert told["mesh"] == "experiment"
    first, second = told["runs"]
    assert [one["ended"] for one in told["runs"]] == ["done", "done"]
    assert [m["state"] for m in first["modules"]] == ["done"]
    assert first["folder"] != second["folder"]
    assert result(first["folder"]) == result(second["folder"]) == ["1\n", "measured\n"]


def test_it_ends_when_its_time_is_up(otter):
    begun = LONG.replace("began;", "began; touch begun;")
    begun += 'ready = { command = ["test", "-e", "begun"] }\n'
    (one,) = otter.json("run", otter.topology(MESH + begun), "--for", "300ms")["runs"]
    assert one["ended"] == "time"
    assert 0.3 <= one["lasted_s"] < 30
    assert result(one["folder"]) == ["began\n"]


def test_it_ends_with_the_module_that_is_named(otter):
    told = otter.json("run", otter.topology(MESH + LONG + SHORT), "--until", "sh*")
    assert told["runs"][0]["ended"] == "done"
    assert {m["module"]: m["state"] for m in told["runs"][0]["modules"]} == {
        "long": "ready", "short": "done",
    }  # fmt: skip


@pytest.mark.parametrize("named", [(), ("--until", "long")])
def test_a_module_that_fails_fails_the_run(otter, named):
    file = otter.topology(MESH + LONG + BAD)
    done = otter("run", file, *named, "--repeat", "3", "--for", "60s", code=1)
    assert done.stdout == ""
    assert "bad: failed: " in done.stderr
    assert "  | no such file" in done.stderr
    assert "run 1 of 3: bad failed" in done.stderr
    assert "run 2 of 3" not in done.stderr
    assert result(done.stderr.strip().partition("run folder ")[2])


def test_one_that_is_not_ready_in_its_time_fails_it_and_is_not_said_to_have_failed(otter):
    ready = 'ready = { command = ["false"], within = "300ms" }\n'
    done = otter("run", otter.topology(MESH + LONG + ready), "--for", "60s", code=1)
    assert "long: running: not ready after 0.3 s" in done.stderr
    assert "mesh experiment: not all modules were ready in their time" in done.stderr


def test_one_that_fails_after_a_while_fails_it_too(otter):
    bad = BAD.replace("echo", "sleep 2; echo")
    file = otter.topology(MESH + LONG + bad)
    (one,) = otter.json("run", file, code=1)["runs"]
    assert one["ended"] == "failed"
    assert {m["module"]: m["state"] for m in one["modules"]}["bad"] == "failed"


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_what_it_has_made_is_fetched_when_it_is_interrupted(otter, how):
    file = otter.topology(MESH + LONG)
    with running(otter, "run", file, "--json", until=lambda: has_begun(otter)) as made:
        made.send_signal(how)
        said, errors = made.communicate(timeout=60)
    assert made.returncode == 130, errors
    assert "Traceback" not in errors
    (one,) = json.loads(said)["runs"]
    assert one["ended"] == "interrupted"
    assert result(one["folder"]) == ["began\n"]


def test_it_keeps_what_it_is_to_keep(otter):
    (one,) = otter.json("run", otter.topology(MESH + SHORT), "--keep")["runs"]
    assert one["ended"] == "done"
    assert [m["mesh"] for m in otter.json("ls")] == ["experiment"]
    again = otter("run", otter.topology(MESH + SHORT), code=1)
    assert "mesh experiment is there already" in again.stderr
    assert "otterctl destroy -m experiment" in again.stderr
    assert otter.json("destroy", "--yes")["folder"] == one["folder"]


def test_what_cannot_be_is_refused_before_anything_is_started(otter):
    file = otter.topology(MESH + SHORT)
    unknown = otter("run", file, "--until", "client", code=1)
    assert "module client: not in mesh experiment" in unknown.stderr
    assert "pick one" in otter("run", file, "--keep", "--repeat", "2", code=2).stderr
    assert "60" in otter("run", file, "--for", "60", code=2).stderr


def test_a_mesh_that_somebody_ends_is_told(otter):
    file = otter.topology(MESH + LONG)
    with running(otter, "run", file, until=lambda: has_begun(otter)) as made:
        otter("destroy", "--yes", "--no-fetch")
        _, errors = made.communicate(timeout=60)
    assert made.returncode == 1
    assert "mesh experiment was destroyed" in errors


STUBBORN = """
[modules.stubborn]
command = ["sh", "-c", "trap 'touch told' TERM; touch deaf; while :; do sleep 0.1; done"]
ready = { command = ["test", "-e", "deaf"] }
"""
"""Told to end it lives on, until its time to do so is over."""
NEVER_READY = LONG + "ready = { tcp = 8000 }\n"


def is_told_to_end(otter):
    return (otter.root / "a/lib/meshes/experiment/stubborn/work/told").exists()


def states(otter):
    return [mesh["state"] for mesh in otter.json("ls")]


def test_interrupted_before_it_is_ready_it_leaves_nothing(otter):
    file = otter.topology(MESH + NEVER_READY)
    with running(otter, "run", file, until=lambda: states(otter) == ["converging"]) as made:
        made.send_signal(signal.SIGINT)
        _, errors = made.communicate(timeout=60)
    assert made.returncode == 130, errors
    assert "fetching what there is, and removing it" in errors


def test_interrupted_while_it_is_removed_it_goes_on_with_that_once(otter):
    file = otter.topology(MESH + STUBBORN)
    words = ("run", file, "--for", "100ms", "--json")
    with running(otter, *words, until=lambda: is_told_to_end(otter)) as made:
        made.send_signal(signal.SIGINT)
        said, errors = made.communicate(timeout=60)
    assert made.returncode == 130, errors
    assert "once more, and it may stay" in errors
    assert json.loads(said)["runs"][0]["ended"] == "interrupted"


def test_interrupted_twice_it_says_what_is_left(otter):
    file = otter.topology(MESH + STUBBORN)
    with running(otter, "run", file, until=lambda: states(otter) == ["ready"]) as made:
        made.send_signal(signal.SIGINT)
        wait_for(lambda: is_told_to_end(otter), "it is removed")
        made.send_signal(signal.SIGINT)
        _, errors = made.communicate(timeout=60)
    assert made.returncode == 130
    assert "mesh experiment may still be there: otterctl destroy -m experiment" in errors
    otter("destroy", "-m", "experiment", "--yes")


def test_a_mesh_of_somebody_else_by_then_is_left_alone(otter):
    file = otter.topology(MESH + LONG)
    with running(otter, "run", file, until=lambda: states(otter) == ["ready"]) as made:
        otter("destroy", "--yes", "--no-fetch")
        otter("apply", file)
        _, errors = made.communicate(timeout=60)
    assert made.returncode == 1, errors
    assert states(otter) == ["ready"]
    otter("destroy", "--yes", "--no-fetch")


def test_what_is_started_again_later_isnt_done(otter):
    events = '[[events]]\nat = "1s"\nmodule = "long"\naction = "stop"\nfor = "2s"\n'
    stopped = '[[events]]\nat = "4s"\nmodule = "long"\naction = "stop"\n'
    (one,) = otter.json("run", otter.topology(MESH + LONG + events + stopped))["runs"]
    assert one["ended"] == "done"
    lines = Path(one["folder"], "events.ndjson").read_text().splitlines()
    told = [event["state"] for event in map(json.loads, lines) if event["subject"] == "long"]
    assert told.count("stopped") == 2, told  # it didn't end at the first one


def test_a_mesh_without_modules_lasts_as_long_as_is_said(otter):
    file = otter.topology(MESH)
    assert "say --for" in otter("run", file, code=2).stderr
    (one,) = otter.json("run", file, "--for", "1s")["runs"]
    assert (one["ended"], one["lasted_s"] >= 1) == ("time", True)
