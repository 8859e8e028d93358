"""The agent killed at random moments of apply and destroy: one more of either, and all is well."""

from __future__ import annotations

import random

import pytest
from helpers.otter import kill_within
from helpers.pings import round_trip_s

pytestmark = [pytest.mark.netns, pytest.mark.slow, pytest.mark.timeout(900)]

POINTS = 25
"""Kills in apply, and as many in destroy."""
LONGEST_APPLY_S = 1.2
LONGEST_DESTROY_S = 0.6

MESH = """
name = "torn"
[defaults.module]
runtime = "process"
[hosts.a]
cpu = 0.5
memory = "64MiB"
[hosts.b]
[hosts.c]
[[links]]
between = ["a", "b"]
delay = "2ms"
[[links]]
between = ["b", "c"]
[modules.one]
host = "a"
command = ["sleep", "1000"]
[modules.two]
host = "b"
command = ["sleep", "1000"]
[modules.three]
host = "c"
command = ["python3", "-m", "http.server", "8000"]
ready = { tcp = 8000 }
"""


def test_apply_and_destroy_survive_kills_at_random_points(otter):
    chance = random.Random(20261122)
    file = otter.topology(MESH)
    otter("apply", file)  # the first one fills caches, so that the kills below hit the rest
    otter("destroy", "--yes", "--no-fetch")
    for _ in range(POINTS):
        kill_within(otter, chance.uniform(0, LONGEST_APPLY_S), "apply", file)
        otter("apply", file)
        assert {m["state"] for m in otter.json("status")["modules"]} == {"ready"}
        across = otter("exec", "one", "--", "ping", "-c1", "-W20", "three")
        assert " 0% packet loss" in across.stdout
        assert round_trip_s(across.stdout) > 0.004
        kill_within(
            otter, chance.uniform(0, LONGEST_DESTROY_S), "destroy", "-m", "torn", "--yes",
            "--no-fetch",
        )  # fmt: skip
        otter("destroy", "-m", "torn", "--yes", "--no-fetch")
        assert otter.leftovers() == []
        assert not otter.meshes_processes()
