"""`otterctl plan --explain`, as people and as programs read it; no agent runs."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from otter_ctl.__main__ import cli

TOPOLOGY = """
name = "pipeline"
overcommit = true
[defaults.module]
runtime = "process"
[hosts.phone]
cpu = 1
[hosts.edge]
cpu = 2
[hosts.cloud]
[[links]]
between = ["phone", "edge"]
delay = "5ms"
rate = "20mbit"
[[links]]
between = ["edge", "cloud"]
delay = "40ms"
[modules.camera]
command = ["true"]
host = "phone"
cpu = 0.5
[modules.detector]
command = ["true"]
cpu = 1.5
[[streams]]
from = "camera.frames"
to = "detector.frames"
expect = { message = "40kB", every = "100ms" }
"""


@pytest.fixture
def plan(tmp_path):
    """Runs `plan` with options, and gives its output."""
    (tmp_path / "mesh.toml").write_text(TOPOLOGY)

    def run(*options: str) -> str:
        root = ["--root", str(tmp_path / "agent")]
        done = CliRunner().invoke(cli, [*root, "plan", str(tmp_path / "mesh.toml"), *options])
        assert done.exit_code == 0, done.output
        return done.stdout

    return run


@pytest.mark.slow
def test_for_people(plan):
    said = plan("--explain")
    assert "module camera: on phone: named in the file" in said
    assert "module detector: on edge: costs least there" in said
    assert "  not on phone: has 0.5 of 1.5 cores free" in said
    assert "  not on cloud: adds 1.2s to the messages of a second" in said
    stream = next(line for line in said.splitlines() if line.startswith("camera.frames>"))
    assert stream.split()[1:] == ["40kB", "21.8ms", "phone-edge", "-"]
    parts = [line.split() for line in said.splitlines() if line.startswith("camera.frames>")][1]
    header = next(line.split() for line in said.splitlines() if line.startswith("LATENCY OF"))
    assert header[2:] == ["MODULES", "DELAYS", "RATES", "DRIVERS"]
    assert parts[2] == "5ms"
    link = next(line for line in said.splitlines() if line.startswith("phone-edge "))
    assert link.split()[-1] == "17%"
    assert "costs least" not in plan(), "only where it is asked for"


@pytest.mark.slow
def test_for_programs(plan):
    document = json.loads(plan("--explain", "--json"))
    camera, detector = document["placement"]
    assert (camera["module"], camera["host"]) == ("camera", "phone")
    assert set(detector["others"]) == {"phone", "cloud"}
    (stream,), (link,) = document["forecast"]["streams"], document["forecast"]["links"]
    assert stream["latency_s"] == pytest.approx(0.0218, abs=2e-4)
    assert sum(stream["parts"].values()) == pytest.approx(stream["latency_s"])
    assert stream["parts"]["delay_s"] == 0.005
    assert (link["link"], link["from"], link["to"]) == ("phone-edge", "phone", "edge")
    assert link["utilisation"] == pytest.approx(0.166, abs=2e-3)
    assert "placement" not in json.loads(plan("--json"))
