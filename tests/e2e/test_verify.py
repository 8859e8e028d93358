"""`verify` and `apply --verify`, from the command line; of computing: test_as_asked.py."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path

import pytest
from helpers.otter import wait_for

pytestmark = pytest.mark.timed

TWO = """
otter = 1
name = "pair"
[hosts.a]
[hosts.b]
[[links]]
name = "radio"
between = ["a", "b"]
[[links]]
name = "spare"
between = ["a", "b"]
[modules.talker]
host = "a"
runtime = "process"
command = ["ping", "-i", "0.1", "b"]
"""
"""No budgets: what a busy machine leaves of computing is out of tolerance."""
COLUMNS = {"link", "from", "to", "property", "asked", "measured", "error", "ok"}


@pytest.fixture
def mesh(otter):
    otter("apply", otter.topology(TWO))
    return otter


def test_a_mesh_gets_a_certificate(mesh):
    rows = mesh.json("verify", "--quick", "--no-cpu")
    assert all(set(row) >= COLUMNS for row in rows)
    directions = {(row["link"], row["from"], row["to"]) for row in rows}
    assert directions == {(x, *ab) for x in ("radio", "spare") for ab in (("a", "b"), ("b", "a"))}
    assert all(row["ok"] for row in rows)


def test_links_and_directions_are_chosen(mesh):
    rows = mesh.json("verify", "ra*", "--direction", "b>a", "--quick")
    assert {(row["link"], row["from"], row["to"]) for row in rows} == {("radio", "b", "a")}
    assert mesh.json("verify", "radio:b>a", "--quick")[0]["from"] == "b"
    assert "there are: radio, spare" in mesh("verify", "nope", code=1).stderr
    mesh("verify", "radio", "--direction", "b", code=2)
    mesh("verify", "--tolerance", "delay=1", code=2)
    assert "no tolerance 'colour'" in mesh("verify", "--tolerance", "colour=1bit", code=2).stderr


def test_the_table_says_how_sure_it_is(mesh):
    shown = mesh("verify", "radio", "--quick")
    assert "99 %" in shown.stdout.splitlines()[0]
    assert "0%..0.528%" in shown.stdout  # 0 of 1000
    assert "as measured" in shown.stderr


def test_two_at_a_time_are_refused(mesh):
    first = mesh.popen("verify", "--thorough", "--no-cpu", stdout=subprocess.DEVNULL)
    wait_for(lambda: _probers(mesh), "the prober")
    assert "being verified already" in mesh("verify", "--quick", code=1).stderr
    first.send_signal(signal.SIGINT)
    assert first.wait(30) == 130
    wait_for(lambda: not _probers(mesh), "the prober's end")
    mesh("verify", "radio", "--quick")


def test_destroying_ends_it(mesh):
    first = mesh.popen("verify", "--thorough", "--no-cpu", stderr=subprocess.PIPE)
    wait_for(lambda: _probers(mesh), "the prober")
    mesh("destroy", "--yes", "--no-fetch")
    _, said = first.communicate(timeout=60)
    assert first.returncode == 1
    assert "a host was removed meanwhile; verify again what is left" in said


def test_a_killed_agent_takes_the_prober_along(mesh):
    first = mesh.popen("verify", "--thorough", "--no-cpu", stderr=subprocess.PIPE)
    wait_for(lambda: _probers(mesh), "the prober")
    mesh.kill_agent()
    wait_for(lambda: not _probers(mesh), "the prober's end")
    _, said = first.communicate(timeout=60)
    assert first.returncode == 1
    assert "no agent answers" in said
    mesh.serve()


def test_apply_can_verify(otter):
    file = otter.topology(TWO)
    done = otter("apply", file, "--verify")
    assert "values" in done.stderr
    otter("apply", file, "--verify", "--no-wait", code=2)


def test_shaped_links_are_judged_and_a_lie_fails(otter):
    """What packets take is as long as asked at least, however busy the machine is."""
    file = otter.topology(TWO.replace('name = "spare"', 'name = "spare"\ndelay = "30ms"'))
    otter("apply", file)
    rows = otter.json("verify", "spare", "--quick", "--tolerance", "delay=1s")
    delays = {row["from"]: row for row in rows if row["property"] == "delay"}
    assert {row["asked"] for row in delays.values()} == {0.03}
    assert all(0.029 < row["measured"] < 1 for row in delays.values())
    assert {row["asked"] for row in rows if row["property"] == "loss"} == {0.0}
    netns = f"otter-{otter.agent_id}+pair+a"
    command = ["tc", "-n", netns, "qdisc", "replace", "dev", "spare", "root", "pfifo", "limit", "0"]
    subprocess.run(command, check=True)
    lost = otter("apply", file, "--verify", code=1)
    assert "out of tolerance (spare" in lost.stderr
    assert otter.modules("pair")["talker"]["state"] == "ready"


def test_what_is_changed_meanwhile_is_not_judged(otter):
    file = otter.topology(TWO.replace('name = "spare"', 'name = "spare"\ndelay = "30ms"'))
    otter("apply", file)
    child = otter.popen("verify", "spare", "--quick", "--json", stdout=subprocess.PIPE)
    wait_for(lambda: _probers(otter), "the prober")
    (prober,) = _probers(otter)
    os.kill(int(prober), signal.SIGSTOP)  # so it can't be done before
    otter("shape", "link", "spare", "--direction", "a>b", "--delay", "5ms")
    os.kill(int(prober), signal.SIGCONT)
    rows = json.loads(child.communicate(timeout=60)[0])
    assert child.returncode in (0, 1)  # the other direction is judged
    changed = [row for row in rows if row["from"] == "a"]
    assert {row["asked"] for row in changed} == {None}
    assert all("changed while it was measured" in row["note"] for row in changed)


def _probers(otter):
    found = []
    for pid in otter.processes():
        try:
            with open(f"/proc/{pid}/cmdline", "rb") as file:
                if b"otter_agent.verify" in file.read():
                    found.append(pid)
        except OSError:
            continue
    return found


def test_shaped_links_tell_what_passed_and_what_was_dropped(otter):
    lossy = 'name = "spare"\ndelay = "5ms"\nloss = "50%"\nrate = "20mbit"'
    otter("apply", otter.topology(TWO.replace('name = "spare"', lossy)))
    otter.json("verify", "spare", "--quick", code=None)
    links = {(x["name"], x["from"]): x["counters"] for x in otter.json("status")["links"]}
    for source in "ab":
        counters = links["spare", source]
        assert counters["packets"] > 500  # of 1000 probes and more
        assert counters["dropped"]["loss"] > 300
        assert 0 <= counters["queue_delay_s"] < 10
        assert 0 <= counters["use_ratio"] < 2
    shown = [x for x in otter("status").stdout.splitlines() if x.startswith("spare")]
    assert all("loss" in line for line in shown)
    fetched = Path(otter.json("fetch")["folder"])
    kept = json.loads((fetched / "links.json").read_text())
    assert [x["counters"]["packets"] > 500 for x in kept if x["name"] == "spare"] == [True, True]
