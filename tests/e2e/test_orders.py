"""`start`, `stop`, `restart`, `wait`: what was ordered holds, and nothing else is touched."""

from __future__ import annotations

import json
import signal
import subprocess
from pathlib import Path

import pytest
from helpers.otter import wait_for

pytestmark = pytest.mark.netns

FOUR = """
name = "orders"
[defaults.module]
runtime = "process"
host = "a"
[hosts.a]
[modules.count]
command = ["sh", "-c", "echo life >> lives; echo $$ > up; exec sleep 1000"]
ready = { command = ["sh", "-c", "kill -0 $(cat up)"] }
[modules.other]
command = ["sleep", "1000"]
[modules.other2]
command = ["sleep", "1000"]
[modules.job]
command = ["sh", "-c", "echo run >> runs"]
"""
BEGINS = "echo $$ > up; exec sleep 1000"
STUBBORN = FOUR.replace(BEGINS, "trap : TERM; echo $$ > up; while :; do sleep 1; done")


def lives(otter) -> int:
    work = otter.root / "a" / "lib" / "meshes" / "orders" / "count" / "work"
    return len((work / "lives").read_text().splitlines())


def alive(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


@pytest.fixture
def mesh(shared_otter):
    otter = shared_otter
    otter("apply", otter.topology(FOUR))
    return otter


def test_stopped_stays_stopped_and_start_goes_on_where_it_was(mesh):
    otter = mesh
    before = otter.modules("orders")
    done = otter("stop", "count")
    assert "1 of 1 modules stopped" in done.stdout
    assert "count: stopped" in done.stderr
    stopped = otter.modules("orders")
    assert (stopped["count"]["state"], stopped["count"]["pid"]) == ("stopped", None)
    assert not alive(before["count"]["pid"])
    assert otter.json("status")["state"] == "ready"
    assert otter("stop", "count").stdout == done.stdout  # again: nothing more to do

    reply = otter.json("start", "count")
    assert [m["state"] for m in reply["modules"]] == ["ready"]
    after = otter.modules("orders")
    assert lives(otter) == 2  # its work folder is the one it had
    assert after["count"]["address"] == before["count"]["address"]
    assert after["count"]["restarts"] == 0
    assert {n: after[n]["pid"] for n in ("other", "other2")} == {
        n: before[n]["pid"] for n in ("other", "other2")
    }
    events = [json.loads(line)["text"] for line in otter("events", "--json").stdout.splitlines()]
    assert "stop was asked for by root" in events


def test_restart_counts_and_keeps_everything_else_running(mesh):
    otter = mesh
    before = otter.modules("orders")
    otter("restart", "count")
    otter("restart", "coun*")
    after = otter.modules("orders")
    assert (after["count"]["restarts"], lives(otter)) == (2, 3)
    assert after["count"]["pid"] != before["count"]["pid"]
    assert after["count"]["reason"] == ""
    for name in ("other", "other2"):
        assert (after[name]["pid"], after[name]["restarts"]) == (before[name]["pid"], 0)


def test_all_and_globs_and_what_is_done(mesh):
    otter = mesh
    reply = otter.json("stop", "--all")
    assert {m["name"]: m["state"] for m in reply["modules"]} == {
        "count": "stopped", "other": "stopped", "other2": "stopped", "job": "done",
    }  # fmt: skip
    assert otter("start", "other*").stdout == "mesh orders: 2 of 2 modules started\n"
    runs = otter.root / "a/lib/meshes/orders/job/work/runs"
    assert runs.read_text() == "run\n"
    otter("start", "job")  # once more
    wait_for(lambda: runs.read_text() == "run\n" * 2, "the job never ran again")
    otter("wait", "job", "--state", "done")


def test_an_apply_of_the_same_file_starts_what_was_stopped(mesh):
    otter = mesh
    file = otter.root / "topology.toml"
    assert otter("plan", file, "--detailed-exitcode").returncode == 0
    otter("stop", "count", "other")
    plan = otter("plan", file, "--detailed-exitcode", code=2)
    assert "module count  (starts)" in plan.stdout
    assert "2 to start" in plan.stdout
    changes = otter.json("plan", file)["changes"]
    assert [(c["kind"], c["name"]) for c in changes] == [("start", "count"), ("start", "other")]
    done = otter("apply", file)
    assert "4 modules ready" in done.stdout
    assert {m["state"] for m in otter.modules("orders").values()} == {"ready", "done"}


def test_a_module_that_ignores_sigterm_is_killed_and_no_failure(mesh):
    otter = mesh
    otter("apply", otter.topology(STUBBORN))
    pid = otter.modules("orders")["count"]["pid"]
    otter("stop", "count")
    after = otter.modules("orders")["count"]
    assert (after["state"], after["exit_code"], after["reason"]) == ("stopped", 137, "")
    assert not alive(pid)


def test_orders_outlive_the_agent(otter):
    """Killed after the order: it stays stopped. Killed in the middle of it: it is carried out."""
    otter("apply", otter.topology(FOUR))
    before = otter.modules("orders")
    otter("stop", "count")
    otter.kill_agent()
    otter.serve()
    otter("wait", "other", "other2")
    after = otter.modules("orders")
    assert after["count"]["state"] == "stopped"
    assert after["other"]["pid"] == before["other"]["pid"]
    assert lives(otter) == 1

    otter("restart", "other", "--no-wait")
    otter.kill_agent()  # the order is on disk, carried out or not
    otter.serve()
    wait_for(lambda: otter.modules("orders")["other"]["restarts"] == 1, "never restarted")
    otter("wait", "other")
    again = otter.modules("orders")
    assert again["other"]["pid"] != before["other"]["pid"]
    assert again["count"]["state"] == "stopped"
    assert again["other2"]["pid"] == before["other2"]["pid"]


def test_wait_says_why_it_is_pointless(mesh):
    otter = mesh
    otter("wait", "--all", "--state", "ready", "--state", "done")
    late = otter("wait", "count", "--state", "done", "--timeout", "300ms", code=1)
    assert "1 of 1 modules are not done: not within 0.3 s" in late.stderr
    never = otter("wait", "job", "--state", "ready", code=1)
    assert "job: done" in never.stderr
    assert "not any more" in never.stderr
    shown = otter.json("wait", "count", "job", code=1)
    assert (shown["reached"], [m["state"] for m in shown["modules"]]) == (False, ["ready", "done"])


def test_wait_ends_when_the_state_comes_or_can_come_no_more(mesh):
    otter = mesh
    waiting = otter.popen("wait", "count", "--state", "stopped", stderr=subprocess.PIPE)
    otter("stop", "count")
    assert waiting.wait(20) == 0
    waiting.stderr.close()
    doomed = otter.popen("wait", "other", "--state", "failed", stderr=subprocess.PIPE)
    otter("stop", "other")
    assert doomed.wait(20) == 1
    assert "other: stopped" in doomed.stderr.read()
    doomed.stderr.close()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["stop"], "name modules"),
        (["stop", "count", "--all"], "name modules"),
        (["wait", "count", "--timeout", "soon"], "soon"),
        (["wait", "count", "--state", "happy"], "happy"),
    ],
)
def test_wrong_usage(mesh, words, said):
    assert said in mesh(*words, code=2).stderr


@pytest.mark.parametrize(
    "words",
    [
        ["restart", "nothing"], ["start", "x*"], ["wait", "nothing"], ["logs", "nothing"],
        ["exec", "nothing", "--", "true"], ["dev", "nothing", "--path", "."], ["fetch", "nothing"],
        ["cp", "nothing:x", "."], ["forward", "nothing", "1"],
        ["shape", "link", "nothing", "--down"],
        ["shape", "cell", "nothing", "--down"], ["verify", "nothing"], ["capture", "nothing"],
        ["status", "-m", "nothing"], ["timeline", "show", "-m", "nothing"],
    ],
    ids=" ".join,
)  # fmt: skip
def test_a_name_of_nothing_fails_as_all_else_that_depends_on_what_runs(mesh, words):
    """2 is for what is wrong whatever runs."""
    done = mesh(*words, code=1)
    assert done.stderr.startswith("otterctl: ")
    assert done.stderr.count("\n") == 1


def test_a_failing_restart_says_why(mesh):
    otter = mesh
    broken = FOUR.replace(f'{BEGINS}"]', f'test -e broken && exit 9; {BEGINS}"]\nrestart = "no"')
    otter("apply", otter.topology(broken))
    (otter.root / "a/lib/meshes/orders/count/work/broken").touch()
    done = otter("restart", "count", code=1)
    assert "count: failed: exited with 9" in done.stderr
    assert "0 of 1 modules restarted" in done.stdout
    otter("stop", "count")  # what has failed can be put to rest
    assert otter.json("status")["state"] == "ready"


def test_ctrl_c_leaves_the_order(mesh):
    otter = mesh
    otter("apply", otter.topology(STUBBORN))
    stop = otter.popen("stop", "count", stderr=subprocess.PIPE)
    wait_for(lambda: otter.modules("orders")["count"]["reason"] == "is being stopped", "no order")
    stop.send_signal(signal.SIGINT)
    assert stop.wait(20) == 130
    assert "Traceback" not in stop.stderr.read()
    stop.stderr.close()
    otter("wait", "count", "--state", "stopped")
