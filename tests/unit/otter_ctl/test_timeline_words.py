"""`otterctl timeline show`: what changes are, in words."""

from __future__ import annotations

import pytest

from otter_agent import api
from otter_ctl.cli import timeline


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({}, "nothing"),
        ({"run": "paused"}, "paused"),
        ({"cpu": 0.5, "run": "stopped"}, "cpu 0.5, stopped"),
        ({"up": False, "delay_s": 0.02}, "down, delay 20ms"),
    ],
)
def test_what_a_module_is_told_to_be_is_a_difference(change, said, capsys):
    changes = [api.TimelineChange(at_s=1.0, module="asr", change=change)]
    timeline._table("NEXT", changes)
    row = capsys.readouterr().out.splitlines()[1]
    assert said in row
    assert ("nothing" in row) is (said == "nothing")
