"""A real model in less memory than it needs: the module is killed, and it is told why."""

from __future__ import annotations

from pathlib import Path

import pytest

TOPOLOGY = Path(__file__).parents[2] / "topologies" / "speech_to_text.toml"
pytestmark = [pytest.mark.wide, pytest.mark.netns, pytest.mark.slow, pytest.mark.timeout(600)]


def test_a_model_that_needs_more_memory_than_its_module_may(shared_otter):
    scarce = ("--set", "modules.asr.memory=150MiB", "--set", "modules.asr.restart=no")
    done = shared_otter("apply", TOPOLOGY, *scarce, code=1)
    assert "asr" in done.stderr
    assert "out of memory" in done.stderr
    assert "Traceback" not in done.stderr
    (module,) = shared_otter.json("status")["modules"]
    assert module["state"] == "failed"
    assert "out of memory" in module["reason"]
