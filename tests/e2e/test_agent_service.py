"""`otter-agent` as a service: systemd's notifications, one agent per root, versions, curl."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import signal
import socket
import sqlite3
import stat
import subprocess
from pathlib import Path

import pytest
from helpers.otter import BIN, command_line, wait_for

pytestmark = pytest.mark.netns


def test_it_tells_systemd_when_it_serves_and_when_it_stops(otter):
    path = otter.root / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as inbox:
        inbox.bind(str(path))
        inbox.settimeout(30)
        otter.env["NOTIFY_SOCKET"] = str(path)
        agent = otter.serve()
        assert inbox.recv(100) == b"READY=1"
        agent.send_signal(signal.SIGTERM)
        assert inbox.recv(100) == b"STOPPING=1"
        assert agent.wait(30) == 0
    del otter.env["NOTIFY_SOCKET"]
    assert not (otter.root / "a" / "run" / "agent.sock").exists()
    assert not (otter.root / "a" / "run" / "agent.pid").exists()


def test_what_carries_links_is_loaded_before_anybody_applies_and_ends_with_the_agent(otter):
    def carriers() -> list[int]:
        carrier = "otter_agent.links.tun"
        return [pid for pid in otter.processes() if carrier in command_line(pid)]

    agent = otter.serve()
    wait_for(carriers, "what carries links")
    agent.send_signal(signal.SIGTERM)
    assert agent.wait(30) == 0
    wait_for(lambda: not carriers(), "the end of what carried nothing")


def test_the_unit_file_starts_this_installation_and_leaves_modules_alone():
    done = subprocess.run([BIN / "otter-agent", "unit"], capture_output=True, text=True, check=True)
    assert f"ExecStart={BIN / 'otter-agent'} serve" in done.stdout
    assert "Type=notify" in done.stdout
    assert "KillMode=process" in done.stdout


def test_what_it_keeps_is_listed_and_removed_after_it_has_ended(otter):
    """It ends with its last mesh, environments and volumes stay."""
    mesh = 'name = "m"\n[hosts.h]\n[modules.m]\nruntime = "fake"\ncommand = ["sleep"]\n'
    otter("apply", otter.topology(mesh))
    otter("destroy", "--yes", "--no-fetch")
    for verb in (["image", "ls"], ["image", "prune"], ["volume", "ls"]):
        otter.kill_agent()
        otter.json(*verb)


def test_a_dry_run_of_destroy_names_what_would_go(otter):
    assert "no mesh to destroy" in otter("destroy", "--all", "--dry-run").stderr
    assert otter.agent_pid is None
    mesh = 'name = "m"\n[hosts.h]\n[modules.x]\nruntime = "fake"\ncommand = ["sleep"]\n'
    otter("apply", otter.topology(mesh))
    assert "would destroy mesh m on local: host h, module x" in otter("destroy", "-n").stdout
    assert otter.json("destroy", "--all", "--dry-run") == [
        {"mesh": "m", "dry_run": True, "machines": ["local"], "hosts": ["h"], "modules": ["x"]}
    ]
    assert [m["mesh"] for m in otter.json("ls")] == ["m"]
    otter.kill_agent()
    assert "it is started, and removes them, too" in otter("destroy", "--all", "-n").stderr
    assert otter.agent_pid is None


def test_the_socket_is_for_root_and_its_group_and_curl_works(otter):
    otter.serve()
    path = otter.root / "a" / "run" / "agent.sock"
    assert stat.S_IMODE(path.stat().st_mode) == 0o660
    if shutil.which("curl"):
        done = subprocess.run(
            ["curl", "-s", "--unix-socket", path, "http://agent/v1/info"], capture_output=True,
            check=True,
        )  # fmt: skip
        assert json.loads(done.stdout)["pid"] == otter.agent_pid


def test_a_second_agent_on_the_same_root_is_refused(otter):
    otter.serve()
    command = [BIN / "otter-agent", "serve", "--root", otter.root / "a", "--docker", otter.docker]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 3
    assert f"(pid {otter.agent_pid})" in done.stderr
    assert "Traceback" not in done.stderr


def test_one_that_is_killed_may_keep_its_lock_for_a_moment(otter):
    """By a thread, or a child that it had just forked: its successor waits for the end of those."""
    otter.serve()
    otter.kill_agent()
    path = otter.root / "a/run/agent.lock"
    with path.open("w") as lock:
        wait_for(lambda: locked(lock), "the killed agent's lock")
        command = [BIN / "otter-agent", "serve", "--root", otter.root / "a"]
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as agent:
            wait_for(lambda: has_open(agent.pid, path) or agent.poll(), "it never came so far")
            with pytest.raises(subprocess.TimeoutExpired):
                agent.wait(0.5)
            lock.close()
            wait_for(lambda: otter.agent_pid == agent.pid or agent.poll(), "it never served")
            assert agent.poll() is None, agent.stderr.read()
            agent.kill()


def locked(file):
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def has_open(pid, path):
    with contextlib.suppress(OSError):
        return str(path) in {os.readlink(fd) for fd in Path(f"/proc/{pid}/fd").iterdir()}
    return False


def test_state_of_a_newer_version_is_not_touched(otter):
    agent = otter.serve()
    agent.terminate()
    agent.wait(30)
    path = otter.root / "a" / "lib" / "state.sqlite"
    with sqlite3.connect(path) as database:
        (mine,) = database.execute("SELECT value FROM meta WHERE key='schema'").fetchone()
        database.execute("UPDATE meta SET value='99' WHERE key='schema'")
    database.close()
    command = [BIN / "otter-agent", "serve", "--root", otter.root / "a"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 1
    assert "newer otter-agent" in done.stderr
    with sqlite3.connect(path) as database:
        database.execute("UPDATE meta SET value=? WHERE key='schema'", (mine,))
    database.close()


def test_facts_need_no_agent_and_leave_none(otter):
    command = [BIN / "otter-agent", "facts", "--root", otter.root / "a", "--docker", otter.docker]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    runtimes = {r["name"]: r["usable"] for r in json.loads(done.stdout)["runtimes"]}
    assert runtimes["process"] is True
    assert runtimes["docker"] is False
    assert otter.agent_pid is None


def test_plan_starts_nothing_and_changes_nothing(otter):
    file = otter.topology(
        'name = "x"\n[hosts.a]\n[modules.m]\ncommand = ["true"]\nruntime = "process"\n'
    )
    before = sorted(os.listdir(otter.root))
    assert otter("plan", file, "--detailed-exitcode", code=2)
    assert otter.agent_pid is None
    assert sorted(os.listdir(otter.root)) == before
    otter("apply", file)
    wait_for(lambda: otter.modules("x")["m"]["state"] == "done", "never done")
    assert otter("plan", file, "--detailed-exitcode", code=0)
