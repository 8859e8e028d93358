"""Computing is certified on cgroup v2 as on v1."""

from __future__ import annotations

import uuid

import pytest

from net.links.verify.judge import Judge
from otter_agent.api import Budget
from otter_agent.cgroups import open_cgroups
from otter_agent.verify import computing
from otter_agent.verify.jobs import HostJob


@pytest.fixture
def cgroups():
    opened = open_cgroups(f"t{uuid.uuid4().hex[:8]}")
    yield opened
    opened.kill("")
    opened.remove("")
    assert opened.groups() == []


def host(cgroups, cores):
    cgroups.ensure("m/h", Budget(cpu=cores))
    cgroups.ensure("m/h/otter.verify", Budget())
    files = tuple(map(str, cgroups.procs_files("m/h/otter.verify")))
    return HostJob(
        name="h", cores=cores, procs_files=files, usage_file=str(cgroups.usage_file("m/h"))
    )


def test_bursts_take_longer_in_a_small_budget(cgroups):
    """As long as asked at least, less what fits into one period; what is more is the machine's."""
    rows = computing.rows(host(cgroups, 0.5), Judge(), "quick")
    assert [row.asked for row in rows] == [0.01, 0.04, 0.1, 0.4]
    assert all(row.measured > row.asked - 0.01 for row in rows)
    assert all(f"{row.asked * 500:g} ms of work" in row.note for row in rows)


def test_a_whole_core_takes_as_long_as_the_work(cgroups):
    rows = computing.rows(host(cgroups, 2.0), Judge(), "quick")
    assert [row.asked for row in rows] == [0.005, 0.02, 0.05, 0.2]


def test_bursts_that_would_take_minutes_are_left_out(cgroups):
    assert [row.asked for row in computing.rows(host(cgroups, 0.01), Judge(), "quick")] == [0.5]
