"""Cells, from file to what a packet feels, with the installed commands."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest
from helpers.otter import Otter, wait_for

pytestmark = [pytest.mark.timed, pytest.mark.netns]

MESH = """
name = "cellular"
[defaults.module]
runtime = "process"
[hosts.edge]
[hosts.phone]
count = 2
[cells.gnb1]
host = "edge"
members = ["phone-*"]
uplink = "10mbit"
downlink = "20mbit"
delay = "5ms"
efficiency = { "phone-2" = 0.5 }
[modules.near]
host = "phone-1"
command = ["sleep", "1000"]
[modules.far]
host = "phone-2"
command = ["sleep", "1000"]
"""
EVENT = '[[events]]\nat = "0s"\ncell = "gnb1"\nset = { downlink = "4mbit" }\n'


@pytest.fixture
def cellular(shared_otter: Otter) -> Otter:
    shared_otter("apply", shared_otter.topology(MESH))
    return shared_otter


def asked(otter: Otter) -> dict[tuple[str, str], dict]:
    return {(x["from"], x["to"]): x["asked"] for x in otter.json("status")["links"]}


def test_a_cell_is_there_as_its_file_says(cellular: Otter) -> None:
    status = cellular.json("status")
    (cell,) = status["cells"]
    assert (cell["name"], cell["host"], cell["uplink_bps"]) == ("gnb1", "edge", 10e6)
    assert [m["host"] for m in cell["members"]] == ["phone-1", "phone-2"]
    there = {(x["from"], x["to"]): x for x in status["links"]}
    assert there["phone-2", "edge"]["applied"] == {
        "delay_s": 0.005, "rate_bps": 5e6, "medium": "gnb1:up",
    }  # fmt: skip
    assert re.search(r"gnb1 +edge +10mbit +20mbit +phone-1, phone-2", cellular("status").stdout)
    # Members reach each other over the host in the middle.
    said = cellular("exec", "near", "--", "ping", "-c3", "-i0.2", "-W5", "far").stdout
    assert float(re.search(r"= ([0-9.]+)/", said)[1]) >= 20.0


def test_who_sends_has_the_others_wait(cellular: Otter) -> None:
    """One whose packets take a second each: whoever shares the air with it feels that."""
    cellular("shape", "link", "gnb1-phone-2", "--direction", "phone-2>edge", "--rate", "8kbit")
    command = ("exec", "far", "--", "ping", "-i0.2", "-s972", "-c60", "edge")
    with cellular.popen(*command, stdout=subprocess.DEVNULL) as busy:
        try:
            wait_for(lambda: _longest_s(cellular) > 0.3, "nobody waits")
        finally:
            busy.terminate()
    cellular("shape", "reset")


def _longest_s(otter: Otter) -> float:
    said = otter("exec", "near", "--", "ping", "-c5", "-i0.3", "-W20", "edge").stdout
    found = re.search(r"= [0-9.]+/[0-9.]+/([0-9.]+)/", said)
    return float(found[1]) / 1000 if found else 0.0


def test_a_cell_is_changed_by_hand_and_by_events(cellular: Otter) -> None:
    said = cellular("shape", "cell", "gnb1", "--uplink", "2mbit", "--delay", "9ms")
    assert "4 directions of links changed" in said.stderr
    now = asked(cellular)
    assert now["phone-1", "edge"] == {"delay_s": 0.009, "rate_bps": 2e6, "medium": "gnb1:up"}
    assert now["phone-2", "edge"]["rate_bps"] == 1e6
    assert now["edge", "phone-2"] == {"delay_s": 0.009, "rate_bps": 10e6, "medium": "gnb1:down"}
    assert cellular.json("status")["cells"][0]["uplink_bps"] == 2e6
    cellular("shape", "reset")
    cellular("apply", cellular.topology(MESH + EVENT))
    wait_for(lambda: cellular.json("status")["cells"][0]["downlink_bps"] == 4e6, "no event")
    assert asked(cellular)["edge", "phone-2"]["rate_bps"] == 2e6
    cellular("apply", cellular.topology(MESH))
    wait_for(lambda: cellular.json("status")["cells"][0]["downlink_bps"] == 20e6, "no end")


def test_wrong_words_are_told(cellular: Otter) -> None:
    unknown = cellular("shape", "cell", "gnb2", "--delay", "1ms", code=1)
    assert "cell gnb2: not in mesh cellular; there are: gnb1" in unknown.stderr
    assert "say what to change" in cellular("shape", "cell", "gnb1", code=2).stderr
    assert "--uplink" in cellular("shape", "cell", "--uplink", "fast", code=2).stderr
    none = cellular("shape", "cell", "--uplink", "none", code=2)
    assert "a cell always has a capacity" in none.stderr
    alone = cellular("shape", "link", "gnb1-phone-1", "--rate", "none", code=1)
    assert "goes only with a rate" in alone.stderr


def test_the_shipped_topology_shares_its_cell(otter: Otter) -> None:
    file = Path(__file__).parents[2] / "topologies" / "radio-cell.toml"
    otter("apply", str(file))
    status = otter.json("status")
    assert len(status["cells"][0]["members"]) == 3
    wait_for(lambda: "pictures" in otter("logs", "meter").stdout, "no picture came")
    assert json.dumps(status).count("gnb1:up") >= 3
