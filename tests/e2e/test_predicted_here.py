"""`plan --explain` predicts by what waking up takes on the machine, which is measured once."""

from __future__ import annotations

import json
import time

import pytest

from otter_agent.layout import Layout
from otter_ctl.planning.latency import OWN_S, OWN_S_PER_BYTE
from otter_ctl.planning.pace import REFERENCE_S

# It learns nothing of a machine that is busy.
pytestmark = [pytest.mark.timed, pytest.mark.netns]
MESH = """
name = "two"
[hosts.here]
[defaults.module]
host = "here"
runtime = "process"
[modules.one]
command = ["sleep", "infinity"]
[modules.other]
command = ["sleep", "infinity"]
[[streams]]
from = "one.out"
to = "other.in"
transport = "tcp"
expect = { message = 1000, every = "100ms" }
"""
PATIENCE_S = 150.0
"""With a machine that is busy for a while."""


def test_what_modules_take_is_measured_when_it_is_first_predicted(otter, tmp_path):
    file = tmp_path / "two.toml"
    file.write_text(MESH)
    otter.serve()
    kept = Layout.at(otter.root / "a").waking
    assert latency_s(otter, file) == pytest.approx(OWN_S + 1000 * OWN_S_PER_BYTE)
    assert not kept.exists(), "nobody has asked what to expect"
    deadline = time.monotonic() + PATIENCE_S
    while not kept.exists() and time.monotonic() < deadline:
        predicted = latency_s(otter, file, "--explain")
    assert kept.exists(), f"the machine was busy for {PATIENCE_S:g} s"
    written = kept.read_text()
    pace = json.loads(written)["value"] / REFERENCE_S
    assert predicted == pytest.approx(pace * (OWN_S + 1000 * OWN_S_PER_BYTE))
    otter.kill_agent()
    otter.serve()
    assert latency_s(otter, file) == predicted
    assert latency_s(otter, file, "--explain") == predicted
    assert kept.read_text() == written


def latency_s(otter, file, *more):
    (stream,) = otter.json("plan", file, *more)["forecast"]["streams"]
    return stream["latency_s"]
