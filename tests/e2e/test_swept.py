"""`otter-agent sweep`: what an agent that runs no more has left is taken down, all of it."""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
import subprocess

import pytest
from helpers.otter import BIN, wait_for

pytestmark = pytest.mark.netns
MESH = """
name = "left"
[defaults.module]
runtime = "process"
[hosts.a]
cpu = 0.5
memory = "64MiB"
[hosts.b]
[[links]]
between = ["a", "b"]
delay = "10ms"
[modules.one]
host = "a"
command = ["sleep", "1000"]
[modules.two]
host = "b"
command = ["sleep", "1000"]
"""


def sweep(otter, *words, code=0, umask=-1):
    argv = [BIN / "otter-agent", "sweep", "--root", otter.root / "a", "--docker", otter.docker]
    done = subprocess.run(
        [*argv, *words], env=otter.env, capture_output=True, text=True, check=False, timeout=90,
        umask=umask,
    )  # fmt: skip
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr, done.stderr
    return done.stdout + done.stderr


def test_what_a_killed_agent_left_is_ended(otter):
    (otter.root / "a").mkdir()
    (otter.root / "a" / "agent.toml").write_text('link_driver = "tun"\n')  # by a process of its own
    otter("apply", otter.topology(MESH))
    assert "meshes are left here: left" in sweep(otter, "--check", code=1)
    assert "serves this root" in sweep(otter, code=1)  # that one is to be ended first
    otter.kill_agent()
    assert otter.meshes_processes() != []
    assert otter.leftovers() != []
    assert "meshes are left here: left" in sweep(otter, "--check", code=1)
    assert sweep(otter) == ""
    wait_for(lambda: not otter.processes(), "nothing of it runs")
    assert otter.leftovers() == []
    assert sweep(otter, "--check") == ""
    otter.serve()
    assert otter.json("ls") == []


def rewrite(otter, old, new):
    """As if another version had written what is desired."""
    with contextlib.closing(sqlite3.connect(otter.root / "a/lib/state.sqlite")) as db, db:
        words = "UPDATE meshes SET spec = CAST(replace(CAST(spec AS TEXT), ?, ?) AS BLOB)"
        assert db.execute(words, (old, new)).rowcount == 1


def test_what_has_containers_waits_for_their_engine(otter):
    otter("apply", otter.topology(MESH))
    otter.kill_agent()
    before = sorted(otter.meshes_processes())
    rewrite(otter, '"runtime":"process"', '"runtime":"docker"')
    said = sweep(otter, code=1)
    assert "what meshes have there can't be removed now: " in said
    assert f"no Docker engine answers at {otter.docker}" in said
    assert "meshes are left here: left" in sweep(otter, "--check", code=1)
    assert sorted(otter.meshes_processes()) == before != []
    rewrite(otter, '"runtime":"docker"', '"runtime":"process"')
    assert sweep(otter, "--images") == ""
    assert otter.meshes_processes() == []
    assert otter.leftovers() == []


def test_what_another_version_wrote_is_ended(otter):
    """After a way back to an earlier version: that can't start, and has this verb to go on with."""
    otter("apply", otter.topology(MESH))
    otter.kill_agent()
    rewrite(otter, '"name":"left"', '"name":"left","of_tomorrow":1')
    argv = [BIN / "otter-agent", "serve", "--root", otter.root / "a", "--docker", otter.docker]
    done = subprocess.run(
        argv, env=otter.env, capture_output=True, text=True, check=False, timeout=60
    )
    assert (done.returncode, "Traceback" in done.stderr) == (1, False), done.stderr
    assert "mesh left was written by another version of otter-agent" in done.stderr
    assert "meshes are left here: left" in sweep(otter, "--check", code=1)
    assert sweep(otter) == ""
    wait_for(lambda: not otter.processes(), "nothing of it runs")
    assert otter.leftovers() == []


def test_there_may_be_nothing(otter):
    assert sweep(otter, "--check") == ""
    assert sweep(otter, "--images") == f"otter-agent: {otter.root / 'a'}: no agent was ever here\n"
    assert not (otter.root / "a").exists()  # a root that was mistyped isn't made


def test_the_next_agents_folders_can_be_entered(otter):
    """Whatever the mask of who sweeps: a group that may use the socket has to reach it."""
    otter.serve()
    otter.kill_agent()
    run = otter.root / "a" / "run"
    shutil.rmtree(run)  # as after a reboot
    assert sweep(otter, umask=0o077) == ""
    assert run.stat().st_mode & 0o777 == 0o755
