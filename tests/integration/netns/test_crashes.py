"""`kill -9` at any point of converge, plug and remove: the next call finishes, nothing is left."""

from __future__ import annotations

import os
import random
import select
import subprocess
import sys
from pathlib import Path

import pytest
from helpers import netns

from otter_agent.network import Network

pytestmark = [pytest.mark.netns, pytest.mark.slow]

HOSTS = 12
KILLS = 40

_VICTIM = f"""
import sys
from helpers import netns
from otter_agent.network import Network
agent = Network(sys.argv[1])
with netns.module_process() as pid:
    print("go", flush=True)
    while True:
        spec = netns.chain("mesh", {HOSTS})
        agent.converge(spec)
        agent.plug("mesh", spec.hosts[0], "m", "100.64.0.2", pid)
        agent.converge(netns.chain("mesh", {HOSTS} // 2))
        agent.converge(netns.chain("mesh", {HOSTS}))
        agent.unplug("mesh", "h0", "m")
        agent.remove("mesh")
"""


def kill_after(agent_id: str, seconds: float) -> None:
    """Run the victim for a while, then end it as no handler can notice."""
    argv = [sys.executable, "-c", _VICTIM, agent_id]
    env = {**os.environ, "PYTHONPATH": str(Path(netns.__file__).parents[1])}
    with subprocess.Popen(argv, stdout=subprocess.PIPE, env=env) as victim:
        assert victim.stdout is not None
        assert victim.stdout.readline() == b"go\n"
        ended, _, _ = select.select([victim.stdout], [], [], seconds)
        assert not ended, "the victim failed by itself"
        victim.kill()


def test_killed_anywhere_and_finished_by_the_next(network: Network) -> None:
    spec = netns.chain("mesh", HOSTS)
    network.converge(spec)
    wanted = netns.snapshot(network)
    network.remove("mesh")
    moments = random.Random(7)  # the same spread of moments every time
    found = set()
    for turn in range(KILLS):
        kill_after(network._agent_id, moments.uniform(0.0, 0.25))
        if turn % 2:
            there, before = len(netns.names(network)), network.changes
            network.converge(spec)
            found.add((there, network.changes - before))
            network.unplug("mesh", "h0", "m")  # its process may not be quite dead yet
            before = network.changes
            network.converge(spec)
            assert network.changes == before
            if turn % 8 == 1:  # reading it all with `ip` takes longer than all the rest
                assert netns.snapshot(network) == wanted
        network.remove("mesh")
        assert netns.names(network) == set()
    assert len(found) > 4, "the kills all hit the same moment: the test shows nothing"
