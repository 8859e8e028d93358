"""Events of modules, and on conditions, on processes that really stop, stand still and die."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from helpers.otter import wait_for

pytestmark = pytest.mark.netns

MESH = """
name = "eventful"
[defaults.module]
runtime = "process"
[hosts.phone]
cpu = 1.0
[hosts.edge]
[[links]]
name = "radio"
between = ["phone", "edge"]
delay = "1ms"
rate = "10mbit"
[modules.asr]
host = "phone"
cpu = 0.8
command = ["sh", "-c", "sleep 1000 & : > $OTTER_WORK/up; wait"]
ready = { command = ["sh", "-c", "test -e $OTTER_WORK/up"] }
[modules.far]
host = "edge"
command = ["sleep", "1000"]
"""


def told(otter) -> list[dict]:
    return [
        json.loads(line) for line in otter("events", "-m", "eventful", "--json").stdout.splitlines()
    ]


def process_state(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def test_modules_are_paused_limited_killed_and_started_again(shared_otter):
    otter = shared_otter
    events = """
[[events]]
at = "0s"
module = "asr"
action = "pause"
[[events]]
at = "0s"
module = "as*"
set = { cpu = 0.5 }
[[events]]
when = { module = "far", state = "stopped" }
module = "asr"
action = "start"
[[events]]
when = { module = "far", state = "stopped", again = true }
module = "asr"
action = "kill"
"""
    otter("apply", otter.topology(MESH + events))
    before = otter.modules("eventful")["asr"]

    def paused_whole() -> bool:
        """Each of its processes stops when a processor has time for it."""
        pid = before["pid"]
        (child,) = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        return [process_state(pid), process_state(int(child))] == ["T", "T"]

    wait_for(paused_whole, "it was never paused, or not with its child")
    paused = otter.modules("eventful")["asr"]
    assert paused["reason"] == "paused by the timeline"
    assert (paused["state"], paused["in_force"]["cpu"]) == ("ready", 0.5)

    otter("stop", "far")

    def again() -> bool:
        now = otter.modules("eventful")["asr"]
        return now["restarts"] >= 1 and now["state"] == "ready" and now["pid"] != before["pid"]

    wait_for(again, "it was never killed, and started again")
    assert process_state(otter.modules("eventful")["asr"]["pid"]) != "T"
    fired = [e for e in told(otter) if e["state"] == "fired"]
    assert [e["data"]["value"] for e in fired] == ["stopped", "stopped"]
    assert "asr: kill: as far is stopped, each time; it is stopped" in fired[1]["text"]
    shown = otter("timeline", "show").stdout
    assert "far is stopped, each time" in shown


def test_a_link_that_is_used_and_packets_that_are_counted_are_conditions(shared_otter):
    otter = shared_otter
    events = """
[[events]]
when = { link = "radio:phone>edge", packets = 20 }
link = "radio"
set = { delay = "30ms" }
[[events]]
when = { host = "phone", cpu_above = 0.05 }
host = "edge"
set = { cpu = 0.5 }
"""
    otter("apply", otter.topology(MESH + events))
    otter("exec", "asr", "--", "ping", "-c", "30", "-i", "0.01", "-q", "far")

    def late() -> bool:
        links = otter.json("status")["links"]
        applied = [x["applied"] or {} for x in links]  # none while an agent only begins
        return all(x.get("delay_s") == pytest.approx(0.03, abs=1e-6) for x in applied)

    wait_for(late, "the packets were never counted")
    fired = next(e for e in told(otter) if e["state"] == "fired" and "packets" in e["text"])
    assert fired["data"]["value"] >= 20
    otter.kill_agent()
    otter.serve()
    asked = [x["asked"]["delay_s"] for x in otter.json("status")["links"]]
    assert asked == [pytest.approx(0.03, abs=1e-6)] * 2  # the next agent remembers it
    wait_for(late, "it isn't in force again")
    otter("exec", "asr", "--", "timeout", "5", "sh", "-c", "while :; do :; done", code=None)

    def limited() -> bool:
        hosts = {h["name"]: h for h in otter.json("status")["hosts"]}
        return hosts["edge"]["in_force"]["cpu"] == 0.5

    wait_for(limited, "nobody saw the host's use of its cores")
