"""Traces and events, from file to what a packet feels, with the installed commands."""

from __future__ import annotations

import csv
import re
import time
from pathlib import Path

import pytest
from helpers.otter import wait_for

pytestmark = [pytest.mark.timed, pytest.mark.netns]

MESH = """
name = "timed"
[defaults.module]
runtime = "process"
[hosts.phone]
[hosts.edge]
[[links]]
name = "radio"
between = ["phone", "edge"]
delay = "1ms"
trace = { file = "far.csv", loop = false }
reverse = { trace = "none" }
[modules.near]
host = "phone"
command = ["sleep", "1000"]
[modules.far]
host = "edge"
command = ["sleep", "1000"]
"""
FAR = "time,delay_ms\n0,40\n0.9,80\n"
EVENT = """[[events]]
at = "1s"
link = "radio:edge>phone"
set = {{ delay = "{delay}" }}
"""


def round_trip_ms(otter) -> float:
    """The least of three."""
    said = otter("exec", "near", "--", "ping", "-c3", "-i0.2", "-W5", "far").stdout
    found = re.search(r"= ([0-9.]+)/", said)
    assert found, said
    return float(found[1])


def position(otter) -> dict:
    status = otter.json("timeline", "show", "--last", "100")
    assert status["lateness"]["failed"] == 0, status
    return status


def applied(otter, at_s: float) -> bool:
    changes = position(otter)["last"]
    return any(c["at_s"] == at_s and c["applied_s"] is not None for c in changes)


@pytest.fixture
def timed(shared_otter):
    otter = shared_otter
    (otter.root / "far.csv").write_text(FAR)
    otter.file = otter.topology(MESH + EVENT.format(delay="200ms"))
    otter("apply", otter.file)
    return otter


def test_what_is_played_is_felt_paused_reset_and_brought_home(timed):
    otter = timed
    wait_for(lambda: applied(otter, 1.0), "the event never came into force")
    assert round_trip_ms(otter) >= 280  # the trace's 80 ms there, the event's 200 ms back
    links = {(x["from"], x["to"]): x for x in otter.json("status")["links"]}
    assert links["phone", "edge"]["applied"]["delay_s"] == pytest.approx(0.08, abs=1e-6)
    assert links["edge", "phone"]["applied"]["delay_s"] == pytest.approx(0.2, abs=1e-6)

    paused = otter.json("timeline", "pause")
    assert paused["state"] == "paused"
    assert position(otter)["position_s"] == paused["position_s"]
    otter("timeline", "start")
    assert position(otter)["position_s"] >= paused["position_s"]

    kinds = [(e["kind"], e["subject"], e["state"]) for e in events(otter)]
    assert ("timeline", "timed", "running") in kinds
    assert ("link", "radio:edge>phone", "changed") in kinds

    said = otter("timeline", "reset").stdout
    assert "is held at 0 until it is started" in said
    wait_for(lambda: round_trip_ms(otter) < 80, "the links never were as the topology says")
    assert "THEN DIFFERS BY" in otter("timeline", "show").stdout

    folder = Path(otter.json("fetch")["folder"])
    rows = list(csv.DictReader((folder / "timeline.csv").read_text().splitlines()))
    assert {row["at_s"] for row in rows} >= {"0.900000", "1.000000"}
    assert all(float(row["applied_s"]) >= float(row["at_s"]) for row in rows)


def events(otter) -> list[dict]:
    import json

    return [json.loads(line) for line in otter("events", "--json").stdout.splitlines()]


def test_a_killed_agent_and_another_apply_leave_the_epoch_alone(timed):
    otter = timed
    wait_for(lambda: applied(otter, 1.0), "the event never came into force")
    before = position(otter)
    otter.kill_agent()
    otter.serve()
    assert round_trip_ms(otter) >= 280
    after = position(otter)
    assert after["state"] == "running"
    assert after["epoch"] == pytest.approx(before["epoch"], abs=0.1)
    assert after["position_s"] > before["position_s"]

    otter.file.write_text(MESH + EVENT.format(delay="150ms"))
    planned = otter("plan", otter.file).stdout
    assert "events[0]" in planned
    otter("apply", otter.file)
    wait_for(lambda: 230 <= round_trip_ms(otter) < 280, "the new event never came into force")
    again = position(otter)
    assert again["epoch"] == pytest.approx(before["epoch"], abs=0.1)
    assert "nothing to change" in otter("apply", otter.file).stdout


def test_a_host_gets_less_and_what_it_had_again(shared_otter):
    otter = shared_otter
    event = '[[events]]\nat = "0.5s"\nhost = "phone"\nset = { cpu = 0.25 }\n'
    plain = MESH.replace('trace = { file = "far.csv", loop = false }', "")
    text = plain.replace("[hosts.phone]", "[hosts.phone]\ncpu = 0.5")
    otter("apply", otter.topology(text + event))

    def cores() -> float:
        (host,) = [h for h in otter.json("status")["hosts"] if h["name"] == "phone"]
        return float(host["in_force"]["cpu"])

    wait_for(lambda: cores() == 0.25, "the event never came into force")
    pid = otter.modules("timed")["near"]["pid"]
    otter.kill_agent()
    otter.serve()
    assert cores() == 0.25
    otter("apply", otter.topology(text + event.replace("0.25", "0.3")))
    wait_for(lambda: cores() == 0.3, "the new event never came into force")
    otter("timeline", "reset")
    wait_for(lambda: cores() == 0.5, "the host never was as the topology says")
    assert otter.modules("timed")["near"]["pid"] == pid
    assert ("host", "phone", "changed") in [
        (e["kind"], e["subject"], e["state"]) for e in events(otter)
    ]


def test_a_trace_that_can_t_be_read_stops_the_apply_before_anything(shared_otter):
    otter = shared_otter
    (otter.root / "far.csv").write_text("time,delay_ms\n1,40\n0,80\n")
    refused = otter("apply", otter.topology(MESH), code=2)
    assert refused.stderr.splitlines()[0].endswith(
        "topology.toml:11: links.radio.trace: far.csv:3: time 0 comes after 1; "
        "sort the lines by time: sort -n"
    )
    assert otter.json("ls") == []


def test_without_anything_to_play(shared_otter):
    otter = shared_otter
    started = time.time()
    otter("apply", otter.topology(MESH.replace('trace = { file = "far.csv", loop = false }', "")))
    status = position(otter)
    assert (status["state"], status["traces"], status["events"]) == ("running", 0, 0)
    assert started <= status["epoch"] <= time.time()
    assert "no mesh 'nobody' here" in otter("timeline", "show", "-m", "nobody", code=1).stderr


@pytest.mark.slow
def test_messages_are_as_old_as_the_trace_has_the_link_slow(shared_otter):
    otter = shared_otter
    trace = otter.root / "slow.csv"
    trace.write_text("time,rate_mbit,delay_ms\n0,50,1\n2,0.5,1\n4,50,1\n")
    file = Path(__file__).parents[2] / "topologies" / "lte-drive.toml"
    otter(
        "apply",
        file,
        "--set",
        f"links.lte.trace={trace}",
        "--set",
        "defaults.module.runtime=process",
    )
    picture_ms = 12_000 * 8 / 0.5e6 * 1000  # at the slow rate; it can't be quicker

    def delays() -> list[float]:
        said = otter("exec", "meter", "--", "cat", "outputs/delay.csv").stdout.splitlines()[1:]
        return [float(line.split(",")[1]) for line in said]

    wait_for(lambda: delays() and max(delays()) >= picture_ms, "no message ever was slow")
    assert min(delays()) < picture_ms / 2
    otter("timeline", "reset")
