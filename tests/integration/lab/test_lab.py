"""The life of a lab: up, more, cut, off, on, down, and every one of them interrupted."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time

import pytest
from helpers import labs
from helpers.labs import ssh

from otter_ctl.lab.errors import LabError

pytestmark = pytest.mark.netns


def test_up_twice_adds_what_is_missing_and_leaves_the_rest(lab):
    lab.up(1, docker=False, bare=True, layers=labs.layers())
    ssh(lab, "lab1", "touch /run/mark")
    first = lab.pid_of("lab1")
    lab.up(2, docker=False, bare=True)
    lab.up(1, docker=False, bare=True)
    with pytest.raises(LabError, match="its machines see other layers"):
        lab.up(2, docker=False, bare=True, layers=[lab.folder.path])
    assert [machine.name for machine in lab.machines()] == ["lab1", "lab2"]
    assert lab.pid_of("lab1") == first
    ssh(lab, "lab1", "test -e /run/mark && ping -c 1 -W 5 lab2")
    assert "[machines.lab2]" in lab.site.read_text()


def test_cut_loses_what_is_sent_and_heal_ends_that(lab):
    lab.up(2, docker=False, bare=True, layers=labs.layers())
    lab.cut("lab2", cables=["data"])
    ssh(lab, "lab2", "ping -c 1 -W 1 lab1", code=1)  # only its data is cut: SSH goes on
    lab.cut("lab2")
    ssh(lab, "lab2", "true", code=255)
    lab.heal("lab2")
    ssh(lab, "lab2", "ping -c 1 -W 5 lab1")


def test_a_slow_way_to_the_controller_stays_slow_over_a_power_cut(lab):
    lab.up(1, docker=False, bare=True, management="rate=1mbit delay=200ms", layers=labs.layers())
    assert lab.machines()[0].management == "rate=1mbit delay=200ms"
    took = timed(lambda: ssh(lab, "lab1", "head -c 100000 /dev/urandom | base64"))
    assert took > 1.0  # 1.08 Mbit and several round trips of 0.4 s
    lab.off("lab1")
    lab.on("lab1")
    address = lab.machines()[0].address
    assert timed(lambda: subprocess.run(["ping", "-c", "1", "-W", "5", address], check=True)) > 0.4
    assert "is no property" in labs.otterctl(lab, "lab", "up", "2", "--management", "rat=1", code=2)


def timed(work):
    began = time.monotonic()
    work()
    return time.monotonic() - began


def test_a_power_cut_ends_all_processes_and_keeps_the_disk(lab):
    lab.up(1, docker=False, layers=labs.layers())
    state = "cat /proc/sys/kernel/random/boot_id; ls /run/mark /etc/mark /var/lib/mark 2>&-; true"
    ssh(lab, "lab1", "touch /run/mark /etc/mark /var/lib/mark && sync")
    ssh(lab, "lab1", "setsid sleep 4711 >/dev/null 2>&1 </dev/null &")
    before = ssh(lab, "lab1", state).split()
    lab.off("lab1")
    assert lab.machines()[0].on is False
    assert subprocess.run(["pgrep", "-f", "sleep 4711"], check=False).returncode == 1
    lab.up(1)
    assert lab.machines()[0].on is False  # somebody wants it to be off
    lab.on("lab1")
    after = ssh(lab, "lab1", state).split()
    assert after[1:] == ["/etc/mark", "/var/lib/mark"]
    assert before[0] != after[0]


def test_a_cable_that_was_pulled_stays_so_over_a_power_cut(lab):
    lab.up(2, docker=False, bare=True, layers=labs.layers())
    lab.cut("lab2", cables=["data"])
    lab.off("lab2")
    lab.on("lab2")
    ssh(lab, "lab2", "ping -c 1 -W 1 lab1", code=1)


@pytest.mark.parametrize(
    "at", ["lab.json", "switch/pid", "machines/lab1/pid", "machines/lab2/init"]
)
def test_up_that_is_killed_is_finished_by_the_next_or_removed_by_down(lab, at):
    arguments = ["lab", "up", "2", "--no-docker", "--bare"]
    for layer in labs.layers():
        arguments += ["--layer", str(layer)]
    env = {**os.environ, "OTTER_LAB": str(lab.folder.path)}
    process = subprocess.Popen([labs.BIN / "otterctl", *arguments], env=env, stderr=-3, stdout=-3)
    deadline = time.monotonic() + 100
    while not (lab.folder / at).exists():
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.002)  # who looks all the time takes the processor from it
    process.send_signal(signal.SIGKILL)
    process.wait()
    memory = lab.folder.read()
    if at == "machines/lab1/pid":
        labs.otterctl(lab, *arguments)
        assert ssh(lab, "lab2", "hostname") == "lab2"
    labs.otterctl(lab, "lab", "down")
    assert memory is not None
    assert labs.leftovers(lab.folder.path, memory.id) == []


def test_down_cleans_up_even_if_the_memory_is_damaged(lab):
    lab.up(1, docker=False, bare=True, layers=labs.layers())
    memory = lab.folder.read()
    assert memory is not None
    (lab.folder / "lab.json").write_text("{")
    assert "is damaged" in labs.otterctl(lab, "lab", "ls", code=1)
    labs.otterctl(lab, "lab", "down")
    assert labs.leftovers(lab.folder.path, memory.id) == []


def test_without_a_lab_nothing_is_there_and_down_is_content(lab):
    assert json.loads(labs.otterctl(lab, "lab", "ls", "--json"))["machines"] == []
    assert "otterctl lab up" in labs.otterctl(lab, "lab", "ssh", "1", code=1)
    assert "otterctl lab up" in labs.otterctl(lab, "lab", "cut", "lab1", code=1)
    labs.otterctl(lab, "lab", "down")
    assert not lab.folder.path.exists()


def test_two_at_once_are_told(lab, monkeypatch):
    monkeypatch.setattr("otter_ctl.lab.folder.LOCK_S", 0.2)
    lab.up(1, docker=False, bare=True, layers=labs.layers())
    with lab.folder.locked(), pytest.raises(LabError, match="another otterctl"):
        lab.off("lab1")


def test_two_labs_that_begin_at_once_share_no_address(lab):
    with labs.new_folder() as folder:
        other = type(lab)(folder)
        words = ["lab", "up", "1", "--no-docker", "--bare"]
        words += [word for layer in labs.layers() for word in ("--layer", str(layer))]
        begun = [
            subprocess.Popen(
                [labs.BIN / "otterctl", *words],
                env={**os.environ, "OTTER_LAB": str(one.folder.path)},
                stdout=subprocess.DEVNULL,
            )
            for one in (lab, other)
        ]
        assert [process.wait(60) for process in begun] == [0, 0]
        assert other.machines()[0].address != lab.machines()[0].address
        for one in (lab, other):
            assert ssh(one, "lab1", "hostname") == "lab1"


@pytest.mark.docker
def test_each_machine_has_an_engine_of_its_own(lab, require):
    require("docker", shutil.which("dockerd"), "no dockerd")
    lab.up(2, layers=labs.layers())
    ids = [ssh(lab, name, "docker info -f '{{.ID}} {{.Driver}}'") for name in ("lab1", "lab2")]
    assert ids[0] != ids[1]
    run = (
        "mkdir /tmp/x && cp /bin/busybox /tmp/x && tar -C /tmp/x -c . | docker import - box"
        " && docker run --network none --memory 50m box /busybox true"
    )
    ssh(lab, "lab1", run)
    assert ssh(lab, "lab2", "docker images -q") == ""
    lab.service("lab1", "docker", "stop")
    assert "Cannot connect" in ssh(lab, "lab1", "docker ps", code=1)
    lab.service("lab1", "docker", "start")
    assert len(ssh(lab, "lab1", "docker ps -aq").split()) == 1
