"""A ring whose routes follow its links: the other way round while one is down, and back."""

from __future__ import annotations

import json
import subprocess
import time

import pytest
from helpers.otter import wait_for

pytestmark = pytest.mark.netns

RING = """
name = "ring"
[network]
routing = "shortest"
[defaults.module]
runtime = "process"
[hosts.a]
[hosts.b]
[hosts.c]
[hosts.d]
[[links]]
between = ["a", "b"]
[[links]]
between = ["b", "c"]
[[links]]
between = ["c", "d"]
delay = "2ms"
[[links]]
between = ["d", "a"]
delay = "2ms"
[modules.near]
host = "a"
command = ["sleep", "1000"]
[modules.far]
host = "b"
command = ["sleep", "1000"]
"""


def first_link(otter, target: str) -> str:
    """Over which host a sends to a host."""
    address = {h["name"]: h["address"] for h in otter.json("status")["hosts"]}[target]
    said = subprocess.run(
        ["ip", "netns", "exec", f"otter-{otter.agent_id}+ring+a", "ip", "route", "get", address],
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    return said.split(" dev ")[1].split()[0]


def rerouted(otter) -> list[dict]:
    told = [
        json.loads(line) for line in otter("events", "-m", "ring", "--json").stdout.splitlines()
    ]
    return [event["data"] for event in told if event["state"] == "rerouted"]


def reaches(otter) -> bool:
    done = otter("exec", "near", "--", "ping", "-c1", "-W2", "-q", "far", code=None)
    return done.returncode == 0


def test_routes_lead_around_a_link_that_is_down_and_back(shared_otter):
    otter = shared_otter
    otter("apply", otter.topology(RING))
    assert first_link(otter, "b") == "a-b"
    assert first_link(otter, "c") == "a-b"
    otter("shape", "link", "a-b", "--delay", "90ms")  # delays move no route: the other way has 2 ms
    assert {x["from"] for x in otter.json("status")["links"] if x["asked"].get("delay_s") == 0.09}
    assert first_link(otter, "b") == "a-b"
    # On a wire without properties, and on one that is shaped.
    asked = time.monotonic()
    otter("shape", "link", "a-b", "--down")
    wait_for(lambda: first_link(otter, "b") == "d-a", "nobody goes the other way")
    assert first_link(otter, "c") == "d-a"
    assert reaches(otter)
    (told,) = wait_for(lambda: rerouted(otter), "nobody told of it")
    assert told["down"] == ["a-b:a>b", "a-b:b>a"]
    # The claim of 100 ms is a benchmark's: machines differ.
    assert 0 < told["took_s"] < time.monotonic() - asked

    otter.kill_agent()
    otter.serve()
    wait_for(lambda: otter.json("status")["state"] == "ready", "the mesh never came back")
    assert first_link(otter, "b") == "d-a"

    otter("shape", "reset")
    wait_for(lambda: first_link(otter, "b") == "a-b", "nobody came back")
    assert reaches(otter)


@pytest.mark.timed
def test_an_event_that_takes_a_link_down_is_followed_at_its_time(shared_otter):
    otter = shared_otter
    event = '[[events]]\nat = "1s"\nlink = "c-d"\nset = { up = false }\n'
    otter("apply", otter.topology(RING + event))
    told = wait_for(lambda: [e for e in rerouted(otter) if "c-d:c>d" in e["down"]], "no reroute")
    assert told[-1]["down"] == ["c-d:c>d", "c-d:d>c"]
    played = {c["link"]: c for c in otter.json("timeline", "show")["last"]}
    assert played["c-d"]["applied_s"] - 1.0 < 5  # made when it was due, not planned and told later


def test_a_trace_of_delays_moves_no_route(shared_otter):
    otter = shared_otter
    (otter.root / "late.csv").write_text("time,delay_ms\n0,1\n0.2,80\n0.4,160\n")
    traced = 'between = ["a", "b"]\ntrace = { file = "late.csv", loop = false }\n'
    otter("apply", otter.topology(RING.replace('between = ["a", "b"]\n', traced, 1)))
    wait_for(lambda: not otter.json("timeline", "show")["next"], "the trace never came to its end")
    assert {x["asked"].get("delay_s") for x in otter.json("status")["links"]} == {0.002, 0.16, None}
    assert first_link(otter, "b") == "a-b"


def test_without_it_routes_stay(shared_otter):
    otter = shared_otter
    otter("apply", otter.topology(RING.replace("shortest", "static")))
    otter("shape", "link", "a-b", "--down")
    assert not reaches(otter)
    assert first_link(otter, "b") == "a-b"
