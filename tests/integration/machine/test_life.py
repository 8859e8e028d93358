"""A bare machine becomes an OTTER machine, is upgraded while a mesh runs, and is bare again."""

from __future__ import annotations

import json
import re
import shutil
import time
from pathlib import Path

import pytest
from helpers.labs import ssh

pytestmark = pytest.mark.netns
ROOT = Path(__file__).parents[3]
MESH = """
name = "one"
[hosts.edge]
[hosts.far]
[[links]]
name = "radio"
between = ["edge", "far"]
delay = "20ms"
[modules.sleeper]
host = "edge"
command = ["sleep", "infinity"]
runtime = "process"
[modules.other]
host = "far"
command = ["sleep", "infinity"]
runtime = "process"
"""
HELPERS = ("otter_agent.links.tun", "otter_agent.launcher")
"""Processes that outlive the agent: one carries links (unless the kernel does), one has started the
modules."""


@pytest.fixture
def added(bare, otterctl):
    """lab1 is an OTTER machine of this very build."""
    otterctl.add("root@lab1", "--label", "jetson", "--data", "192.0.2.9")
    return otterctl


@pytest.fixture(scope="module")
def before(bare):
    """What is there of OTTER at first: nothing that it may leave."""
    return everything(bare)


def test_a_dry_run_changes_nothing(bare, before, otterctl):
    said = otterctl.add("root@lab1", "--dry-run")
    assert "make the virtual environment" in said
    assert everything(bare) == before
    assert not otterctl.site.exists()


def test_each_step_is_listed_before_any_is_done(bare, otterctl):
    listed = listed_steps(otterctl.add("root@lab1", "--dry-run"))
    document = json.loads(otterctl.add("root@lab1", "--dry-run", "--json"))
    assert document["machine"] == "lab1"
    assert [step["title"] for step in document["steps"]] == listed
    assert all(step["root"] for step in document["steps"])
    assert document["send_bytes"] > 1e6
    assert any("no systemd runs there" in note for note in document["notes"])
    sent, *told = told_steps(otterctl.add("root@lab1"))
    assert sent.startswith("send ")
    assert told == listed
    words = ("machine", "upgrade", "lab1", "--dry-run", "--json")
    document = json.loads(otterctl(*words))
    assert (document["steps"], document["send_bytes"]) == ([], 0)
    assert "already" in document["notes"][0]
    assert "--json goes with --dry-run" in otterctl("machine", "rm", "lab1", "--json", code=2)
    listed = listed_steps(otterctl("machine", "rm", "lab1", "--dry-run"))
    document = json.loads(otterctl("machine", "rm", "lab1", "--dry-run", "--json"))
    assert [step["title"] for step in document["steps"]] == listed
    assert told_steps(otterctl("machine", "rm", "lab1", "--yes")) == listed


def listed_steps(said):
    return [line[4:] for line in said.splitlines() if line.startswith("  - ")]


def told_steps(said):
    return [line[:-2] for line in said.splitlines() if line.endswith(" …")]


def test_an_add_that_is_killed_is_finished_by_the_next(bare, before, otterctl):
    words = ("machine", "add", "root@lab1", "--ssh-config", otterctl.config, "--yes")
    process = otterctl.start(*words)
    wait(lambda: process.stderr.readline().startswith("make the virtual environment"))
    process.kill()
    process.communicate()
    otterctl.add("root@lab1")
    otterctl("machine", "check", "lab1")


def test_one_that_is_killed_while_it_sends_is_gone_on_with(bare, before, otterctl):
    words = ("machine", "add", "root@lab1", "--ssh-config", otterctl.config, "--yes")
    ssh(bare, "lab1", "rm -rf /opt/otter")
    process = otterctl.start(*words)
    come = "cat /tmp/otter-add.*/*.whl 2>&- | wc -c"
    wait(lambda: int(ssh(bare, "lab1", come, code=None)) > 1_000_000)
    process.kill()
    process.communicate()
    newer = "msgspec-99-py3-none-any.whl"  # pip would choose it, whoever has laid it there
    ssh(bare, "lab1", f"for folder in /tmp/otter-add.*; do echo > $folder/{newer}; done")
    said = otterctl.add("root@lab1")
    assert re.search(r"go on: [\d.]+ MB of that have come before", said)
    assert newer not in ssh(bare, "lab1", "ls /opt/otter/wheels")
    otterctl("machine", "check", "lab1")


def test_a_bare_machine_becomes_a_ready_one(bare, before, added):
    assert 'labels = ["jetson"]' in added.site.read_text()
    found = json.loads(added("machine", "check", "lab1", "--json"))
    assert found["usable"]
    states = {check["name"]: check["ok"] for check in found["checks"]}
    assert states["otter"] is states["agent"] is states["python"] is states["tun"] is True
    [line] = json.loads(added("machine", "ls", "--json"))
    assert (line["name"], line["reachable"], line["data"]) == ("lab1", True, "192.0.2.9")
    assert "process" in line["runtimes"]
    ssh(bare, "lab1", "/opt/otter/current/bin/python -m pip --version")  # environments are made so


def test_its_agent_comes_back_after_a_kill_and_after_a_power_cut(bare, before, added):
    first = ssh(bare, "lab1", "cat /run/otter/agent.pid")
    ssh(bare, "lab1", "kill -9 $(cat /run/otter/agent.pid)")
    wait(lambda: ssh(bare, "lab1", "cat /run/otter/agent.pid", code=None).strip() != first)
    wait(lambda: '"machine":"lab1"' in agent(bare, "http://agent/v1/info"))
    bare.off("lab1")
    assert json.loads(added("machine", "ls", "--json"))[0]["reachable"] is False
    bare.on("lab1")
    wait(lambda: '"machine":"lab1"' in agent(bare, "http://agent/v1/info"))
    added("machine", "check", "lab1")


def test_a_failed_upgrade_returns_to_what_ran(bare, before, added, tmp_path):
    added.packages = other_build(tmp_path / "broken")
    with (tmp_path / "broken/otter_agent/service.py").open("a") as service:
        service.write('\n\ndef serve(*_, **__):\n    raise SystemExit("broken on purpose")\n')
    said = added("machine", "upgrade", "lab1", "--yes", code=1)
    assert "does not answer: broken on purpose" in said
    assert "return to" in said
    added.packages = None
    added("machine", "check", "lab1")


@pytest.mark.timeout(600)
def test_an_upgrade_keeps_meshes_and_rm_leaves_nothing(bare, before, added, tmp_path):
    pid = start_mesh(bare)
    helpers = {name: pids(bare, name) for name in HELPERS}
    assert 40 <= round_trip_ms(bare) < 80
    added.packages = other_build(tmp_path / "other")
    assert "otterctl machine upgrade lab1" in added("machine", "check", "lab1", code=1)
    process = added.start("machine", "upgrade", "lab1", "--yes")
    wait(lambda: process.stderr.readline().startswith("make the group"))
    process.kill()  # the new build is in its place, the earlier one's agent runs
    process.communicate()
    assert "runs: an upgrade was cut short" in added("machine", "check", "lab1", code=1)
    said = added("machine", "upgrade", "lab1", "--yes")
    assert "already" not in said
    added("machine", "check", "lab1")
    assert module_pid(bare) == pid
    its_helpers_do_without_the_earlier_version(bare, helpers)
    assert "already" in added("machine", "upgrade", "lab1", "--yes")

    assert "meshes run there: one" in added("machine", "rm", "lab1", "--yes", code=1)
    agent(bare, "-X DELETE http://agent/v1/meshes/one")
    wait(lambda: agent(bare, "http://agent/v1/meshes") == "[]")
    added("machine", "rm", "lab1", "--yes")
    assert everything(bare) == before
    assert "lab1" not in added.site.read_text()
    assert json.loads(added("machine", "ls", "--json")) == []


@pytest.mark.parametrize("answers", [True, False], ids=["its agent answers", "it doesn't"])
def test_by_force_the_meshes_end_too(bare, before, added, answers):
    start_mesh(bare)
    assert meshes_have(bare) != ""
    if not answers:
        ssh(bare, "lab1", "/etc/init.d/otter-agent stop")
        said = added("machine", "rm", "lab1", "--yes", code=1)
        assert "as its agent doesn't answer: otter-agent: meshes are left here: one" in said
        assert "or --force ends them" in said
        assert meshes_have(bare) != ""
    listed = added("machine", "rm", "lab1", "--force", "--dry-run")
    assert ("all they have: one" if answers else "all meshes that are left there") in listed
    added("machine", "rm", "lab1", "--force", "--yes")
    assert everything(bare) == before
    wait(lambda: meshes_have(bare) == "")
    assert "lab1" not in added.site.read_text()


def test_a_broken_environment_is_made_anew_so_that_it_can_be_removed(bare, before, added):
    """As when the system is of another version now, and the Python gone that it was made with."""
    start_mesh(bare)
    ssh(bare, "lab1", "/etc/init.d/otter-agent stop; rm /opt/otter/current/bin/python3*")
    said = added("machine", "rm", "lab1", "--force", "--yes", code=1)
    assert "or broken: first otterctl machine add lab1" in said
    added.add("lab1")
    assert "meshes run there: one" in added("machine", "rm", "lab1", "--yes", code=1)
    added("machine", "rm", "lab1", "--force", "--yes")
    assert everything(bare) == before
    wait(lambda: meshes_have(bare) == "")


def meshes_have(lab):
    """Namespaces, control groups and processes of meshes."""
    looks = (
        "ls /run/netns; ls -d /sys/fs/cgroup/otter-* /sys/fs/cgroup/*/otter-*;"
        " ps -e -o args= | grep -E '[s]leep infinity|[o]tter_agent'"
    )
    return ssh(lab, "lab1", f"{{ {looks}; }} 2>&-; true")


def everything(lab):
    """Files that OTTER might leave, groups, and links to start it."""
    looks = (
        "find /opt /usr/local /etc/init.d /etc/rc?.d /etc/systemd /var/lib /run /tmp /home"
        " -iname '*otter*' | sort; getent group otter; ps -e -o args= | grep [o]tter-agent"
    )
    return ssh(lab, "lab1", looks, code=None)


def start_mesh(lab):
    topology = MESH.replace("\n", "\\n").replace('"', '\\"')
    script = f'cd /tmp && printf "{topology}" > one.toml && {OTTERCTL} apply one.toml'
    ssh(lab, "lab1", script)
    return module_pid(lab)


OTTERCTL = f"{ROOT}/.venv/bin/otterctl"


def its_helpers_do_without_the_earlier_version(lab, helpers):
    """They were started from files that are gone, and have still to do whatever is asked."""
    assert len(ssh(lab, "lab1", "ls -d /opt/otter/*-*/").split()) == 1
    assert helpers["otter_agent.launcher"]
    for name, those in helpers.items():
        assert pids(lab, name) == those
        for pid in those:
            program = ssh(lab, "lab1", f"tr '\\0' '\\n' < /proc/{pid}/cmdline | head -n 1")
            assert program.startswith("/opt/otter/")
            ssh(lab, "lab1", f"test ! -e {program}")
    assert 40 <= round_trip_ms(lab) < 80
    ssh(lab, "lab1", f"{OTTERCTL} shape link radio --delay 50ms")
    assert 100 <= round_trip_ms(lab) < 160
    old = module_pid(lab)
    ssh(lab, "lab1", f"{OTTERCTL} restart sleeper")
    assert module_pid(lab) != old
    for name, those in helpers.items():
        assert pids(lab, name) == those
        for pid in those:
            ssh(lab, "lab1", f"kill -9 {pid}")
    wait(lambda: 100 <= (round_trip_ms(lab) or 0) < 160)  # the new version's carries them
    ssh(lab, "lab1", f"{OTTERCTL} restart sleeper")
    assert module_pid(lab)


def pids(lab, name):
    """Of processes with this word in their command line."""
    lines = ssh(lab, "lab1", "ps -e -o pid=,args=").splitlines()
    return [int(words[0]) for words in map(str.split, lines) if name in words]


def round_trip_ms(lab):
    """The least of some, from one host to the other; None: none came back."""
    ping = "ping -q -c 5 -i 0.2 -W 2 other"
    said = ssh(lab, "lab1", f"{OTTERCTL} exec sleeper -- {ping}", code=None)
    found = re.search(r"= ([\d.]+)/", said)
    return float(found[1]) if found else None


def module_pid(lab):
    status = json.loads(ssh(lab, "lab1", f"{OTTERCTL} status --json"))
    modules = {module["name"]: module for module in status["modules"]}
    assert {module["state"] for module in modules.values()} <= {"running", "ready"}
    return modules["sleeper"]["pid"]


def agent(lab, words):
    return ssh(lab, "lab1", f"curl -s --unix-socket /run/otter/agent.sock {words}", code=None)


def wait(condition):
    deadline = time.monotonic() + 90  # a mesh is made meanwhile, beside other tests
    while not condition():
        assert time.monotonic() < deadline


def other_build(folder):
    """This OTTER, one file apart."""
    for package in ("modules", "net", "otter_agent", "otter_ctl"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / package, folder / package, ignore=ignored)
    (folder / "otter_agent/other.txt").write_text("another build\n")
    return folder
