"""The unit by which a machine runs its agent, under a systemd that runs."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from helpers.otter import BIN, wait_for
from helpers.systemd import SYSTEMD, Booted

from otter_ctl.machine import steps
from otter_ctl.machine.facts import parse

RELEASE = "0-unit"
MESH = """
name = "one"
[hosts.edge]
cpu = 0.5
memory = "64MiB"
[modules.sleeper]
host = "edge"
command = ["sleep", "infinity"]
runtime = "process"
"""
OTTERCTL = f"OTTER_RUNS=/run/runs {BIN}/otterctl"
PLACES = (
    "/opt/otter", "/usr/local/bin/otter-agent", "/var/lib/otter", "/run/otter",
    "/etc/systemd/system/otter-agent.service",
    "/etc/systemd/system/multi-user.target.wants/otter-agent.service",
)  # fmt: skip


def facts():
    return parse("user=root\nuid=0\nsystem=Linux\nroot=root\nsystemd=yes\nend=yes\n")


@pytest.fixture
def folder(require, tmp_path):
    """What the machine keeps; in /opt/otter stands this very agent."""
    require("kernel", SYSTEMD.exists(), f"there is no {SYSTEMD} (Debian: systemd)")
    program = Path(steps.TOP, RELEASE, "bin/otter-agent")
    program.parent.mkdir(parents=True)
    program.symlink_to(BIN / "otter-agent")
    Path(steps.TOP, "current").symlink_to(RELEASE)
    yield tmp_path
    shutil.rmtree(steps.TOP, ignore_errors=True)


def install(machine):
    for step in [*steps.group(facts()), steps.service(facts(), "pi")]:
        machine(step.script)


def shown(machine, *names):
    """Properties of the unit."""
    words = " ".join(f"-p {name}" for name in names)
    _, said = machine(f"systemctl show otter-agent {words}")
    return dict(line.split("=", 1) for line in said.splitlines())


def state(machine):
    """Of the module: its pid, and the budget of its host that is in force; None: it isn't ready."""
    code, said = machine(f"{OTTERCTL} status --json", code=None)
    status = json.loads(said) if code == 0 else {"modules": []}
    if [one["state"] for one in status["modules"]] != ["ready"]:
        return None
    pid = status["modules"][0]["pid"]
    script = f"group=$(sed s/^0::// /proc/{pid}/cgroup); cd /sys/fs/cgroup$group/..; cat "
    return pid, machine(script + "cpu.max memory.max")[1].split()


def test_it_is_started_kept_and_taken_away(folder):
    with Booted(folder) as machine:
        install(machine)
        unit = shown(machine, "ActiveState", "UnitFileState", "MainPID", "Delegate")
        assert (unit["ActiveState"], unit["UnitFileState"]) == ("active", "enabled")
        assert unit["Delegate"] == "yes"
        assert machine("stat -c '%G %a' /run/otter/agent.sock")[1] == "otter 660"
        machine(f"cat > /run/one.toml <<'END'\n{MESH}END\n{OTTERCTL} apply /run/one.toml")
        before = pid, (quota, period, memory) = state(machine)
        assert (int(quota) / int(period), memory) == (0.5, str(64 << 20))

        machine("systemctl restart otter-agent")  # it comes back once the agent is ready
        assert machine("curl -s --unix-socket /run/otter/agent.sock http://a/v1/info")[1]
        assert state(machine) == before
        machine("systemctl daemon-reload")

        main = shown(machine, "MainPID")["MainPID"]
        assert main != unit["MainPID"]
        machine(f"kill -9 {main}")
        wait_for(lambda: shown(machine, "MainPID")["MainPID"] not in (main, "0"), "another agent")
        wait_for(lambda: shown(machine, "ActiveState")["ActiveState"] == "active", "it is ready")
        assert state(machine) == before
        machine("systemctl stop otter-agent")
        machine(f"kill -0 {pid}")  # the module lives on

    with Booted(folder) as machine:  # after a power cut
        wait_for(lambda: shown(machine, "ActiveState")["ActiveState"] == "active", "its agent")
        again, budget = wait_for(lambda: state(machine), "the mesh")
        assert budget == before[1]
        machine(f"{OTTERCTL} destroy -m one --yes --no-fetch")
        machine(f"! kill -0 {again} 2>&-")
        for step in [steps.stop(facts()), *steps.remove()]:
            machine(step.script)
        assert shown(machine, "LoadState", "ActiveState") == {
            "LoadState": "not-found", "ActiveState": "inactive",
        }  # fmt: skip
        assert machine(f"ls -d {' '.join(PLACES)} 2>&-", code=None)[1] == ""
        assert machine("getent group otter", code=None)[1] == ""
        assert machine("ps -e -o args= | grep [o]tter-agent", code=None)[1] == ""


@pytest.fixture
def broken(folder):
    """Its agent says why after a while, and ends."""
    program = Path(steps.TOP, RELEASE, "bin/otter-agent")
    program.unlink()
    words = "echo starting\nsleep 0.5\necho broken on purpose >&2\nexit 3\n"
    program.write_text(f"#!/bin/sh\n{words}")
    program.chmod(0o755)
    return folder


SLOW = """systemctl() {
    code=0; command systemctl "$@" || code=$?
    [ "$1" != restart ] || sleep 1.2
    return $code
}
"""


@pytest.mark.parametrize("slow", ["", SLOW], ids=["at-once", "in-its-next-run"])
def test_what_an_agent_said_that_does_not_start_is_told(broken, slow):
    with Booted(broken) as machine:
        for step in steps.group(facts()):
            machine(step.script)
        _, said = machine(slow + steps.service(facts(), "pi").script, code=1)
        assert said.splitlines()[-1] == "otter-agent does not answer: broken on purpose"
        for step in [steps.stop(facts()), *steps.remove()]:
            machine(step.script)
