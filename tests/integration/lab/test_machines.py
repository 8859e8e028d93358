"""What an emulated machine is, seen from inside it and from this computer."""

from __future__ import annotations

import json
import os
import subprocess
import time
from pathlib import Path

import pytest
from helpers import labs
from helpers.labs import ssh

from otter_ctl.lab import cgroups
from otter_ctl.lab.lab import group_of

pytestmark = pytest.mark.netns


def test_machines_have_names_and_reach_each_other_over_the_data_network(pair):
    assert [ssh(pair, name, "hostname") for name in ("lab1", "lab2")] == ["lab1", "lab2"]
    data = {machine.name: machine.data for machine in pair.machines()}
    assert ssh(pair, "lab1", "getent hosts lab2 | cut -d' ' -f1") == data["lab2"]
    ssh(pair, "lab1", "ping -c 1 -W 5 lab2")


def test_an_agent_serves_on_each(pair):
    info = "curl -s --unix-socket /run/otter/agent.sock http://agent/v1/info"
    told = [json.loads(ssh(pair, name, info)) for name in ("lab1", "lab2")]
    assert [one["machine"] for one in told] == ["lab1", "lab2"]
    assert told[0]["agent"] != told[1]["agent"]


def test_an_agent_there_runs_a_mesh(pair):
    topology = """
name = "inside"
[hosts.phone]
[hosts.edge]
[[links]]
between = ["phone", "edge"]
delay = "5ms"
[modules.server]
host = "edge"
command = ["/usr/bin/python3", "-m", "http.server", "8000"]
runtime = "process"
ready = { tcp = 8000 }
[modules.client]
host = "phone"
command = ["sleep", "infinity"]
runtime = "process"
"""
    ssh(pair, "lab1", f"cat > /tmp/inside.toml <<'END'\n{topology}\nEND")
    ssh(pair, "lab1", "cd /tmp && otterctl apply inside.toml")
    ssh(pair, "lab1", "otterctl exec client -- ping -c 1 -W 5 server")
    assert json.loads(ssh(pair, "lab2", "otterctl ls --json")) == []
    assert not [name for name in os.listdir("/run/netns") if name.endswith("+inside+edge")]
    ssh(pair, "lab1", "cd /tmp && otterctl destroy --yes --no-fetch")


@pytest.mark.parametrize("folder", ["/etc", "/usr", "/opt", "/root", "/home", "/var/lib", "/tmp"])
def test_what_a_machine_writes_is_its_own(pair, folder):
    path = Path(folder, "otter-lab-test-writes-here")
    ssh(pair, "lab1", f"touch {path}")
    assert not path.exists()
    ssh(pair, "lab2", f"test ! -e {path}")


def test_a_machine_sees_its_own_processes_groups_and_devices_alone(pair):
    assert ssh(pair, "lab1", "cat /proc/1/comm") == "python"
    assert len(ssh(pair, "lab1", "ls -d /proc/[0-9]*").split()) < 20
    groups = ssh(pair, "lab1", "cut -d: -f3 /proc/1/cgroup").split()
    assert set(groups) <= {"/", "/init"}
    assert set(ssh(pair, "lab1", "ls /sys/class/net").split()) == {"eth0", "eth1", "lo"}


def test_no_process_is_in_a_group_that_has_to_hand_cpu_and_memory_on(pair):
    """Or there are no budgets where version 2 has the controllers (tests/kernel/test_lab.py)."""
    [top] = [h.path for h in cgroups.hierarchies() if h.kind == "cgroup2"]
    group = top / group_of(pair.folder.id())
    handing = [group, *(group / machine.name for machine in pair.machines())]
    assert {str(one): (one / "cgroup.procs").read_text() for one in handing} == {
        str(one): "" for one in handing
    }


def test_nothing_leads_beyond_this_computer_and_only_ssh_listens(pair):
    machine = pair.machines()[0]
    assert ssh(pair, "lab1", "ip route show default") == ""
    listening = ssh(pair, "lab1", "ss -Htuln | awk '{print $5}'").split()
    assert listening == [f"{machine.address}:22"]
    own = subprocess.run(
        ["ip", "-json", "address", "show", "type", "veth"], capture_output=True, check=True
    )
    addresses = [a for device in json.loads(own.stdout) for a in device["addr_info"]]
    mine = [a for a in addresses if a["local"].startswith("198.1") and a["family"] == "inet"]
    assert {a["scope"] for a in mine} == {"link"}


def test_host_keys_are_verified(pair):
    known = pair.folder / "known_hosts"
    before = known.read_text()
    lines = before.splitlines()
    keys = [line.split(" ", 1)[1] for line in lines]
    known.write_text(f"{lines[0].split()[0]} {keys[1]}\n{lines[1]}\n")
    try:
        said = ssh(pair, "lab1", "true", code=255)
    finally:
        known.write_text(before)
    assert "Host key verification failed" in said
    ssh(pair, "lab1", "true")


def test_ls_tells_of_all(pair):
    told = json.loads(labs.otterctl(pair, "lab", "ls", "--json"))
    assert told["up"] is True
    assert told["site"] == str(pair.site)
    first = told["machines"][0]
    assert first["name"] == "lab1"
    assert first["services"] == {"ssh": True, "agent": True}
    shown = labs.otterctl(pair, "lab", "ls")
    assert "lab2" in shown
    assert "ssh agent" in shown


def test_ssh_takes_words_or_a_line_and_passes_the_status_on(pair):
    assert labs.otterctl(pair, "lab", "ssh", "2", "--", "echo", "a  b") == "a  b\n"
    assert labs.otterctl(pair, "lab", "ssh", "lab2", "echo a | tr a b") == "b\n"
    labs.otterctl(pair, "lab", "ssh", "lab2", "exit 7", code=7)
    assert "there are: lab1, lab2" in labs.otterctl(pair, "lab", "ssh", "lab9", "true", code=1)


def test_a_service_that_ends_by_itself_comes_back_and_one_that_is_stopped_does_not(pair):
    first = ssh(pair, "lab1", "cat /run/otter/agent.pid")
    ssh(pair, "lab1", "kill -9 $(cat /run/otter/agent.pid)")
    deadline = time.monotonic() + 90
    while ssh(pair, "lab1", "cat /run/otter/agent.pid", code=None).strip() in ("", first):
        assert time.monotonic() < deadline
    pair.service("lab1", "agent", "stop")
    assert pair.machines()[0].services == {"ssh": True, "agent": False}
    pair.service("lab1", "agent", "start")
    ssh(pair, "lab1", "otterctl ls")


def test_a_machine_without_ssh_refuses_and_with_it_answers_again(pair):
    pair.service("lab2", "ssh", "stop")
    assert "Connection refused" in ssh(pair, "lab2", "true", code=255)
    pair.service("lab2", "ssh", "start")
    ssh(pair, "lab2", "true")
    assert "no such service" in labs.otterctl(pair, "lab", "stop", "lab2", "docker", code=1)
