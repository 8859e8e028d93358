"""The prober's process, without anything to probe."""

from __future__ import annotations

import subprocess
import sys

import pytest

from otter_agent import api
from otter_agent.verify.jobs import Job

COMMAND = [sys.executable, "-m", "otter_agent.verify", "mesh", "folder"]


@pytest.mark.slow
def test_it_ends_in_order_though_nobody_closed_its_input():
    pipe = subprocess.PIPE
    with subprocess.Popen(COMMAND, stdin=pipe, stdout=pipe, stderr=pipe) as child:
        assert child.stdin is not None
        child.stdin.write(api.encode(Job(effort="quick")) + b"\n")
        child.stdin.flush()
        assert (child.wait(30), child.stderr.read()) == (0, b"")
