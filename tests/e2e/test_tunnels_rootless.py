"""An ordinary user's agent on one machine, root's on the other: the link between goes over UDP."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from helpers.machines import SSHD, Machines, machines
from helpers.ordinary import Ordinary, ordinary
from helpers.otter import BIN, wait_for

from otter_agent.network import namespaces

TOPOLOGY = """
name = "mixed"
[defaults.module]
runtime = "process"
[hosts.phone]
machine = "m1"
[hosts.edge]
machine = "m2"
[[links]]
name = "radio"
between = ["phone", "edge"]
delay = "10ms"
[modules.near]
host = "phone"
command = ["sleep", "infinity"]
[modules.far]
host = "edge"
command = ["sleep", "infinity"]
"""


@contextmanager
def agent_of(user: Ordinary, world: Machines) -> Iterator[None]:
    """The user's agent on the first machine, in place of root's."""
    machine = world["m1"]
    machine.stop_agent()
    netns = os.open(f"/run/netns/{machine.netns}", os.O_RDONLY)
    user.before = lambda: namespaces.join(netns)
    socket = user.run / "agent.sock"
    agent = subprocess.Popen(
        user.words([BIN / "otter-agent", "serve", "--name", "m1"]), env=user.env,
        preexec_fn=user.before, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    site = world.folder / "site.toml"
    site.write_text(site.read_text().replace(str(machine.socket), str(socket)))
    try:
        wait_for(socket.exists, "no agent")
        yield
    finally:
        world("destroy", "--all", "--yes", "--no-fetch", code=None)
        agent.terminate()
        agent.wait(20)
        os.close(netns)
        user.before = None


@pytest.fixture
def world(require) -> Iterator[Machines]:
    tools = all(shutil.which(tool) for tool in ("setpriv", "unshare", "nsenter", "ip"))
    require("netns", os.geteuid() == 0 and tools, "not root, or no util-linux")
    require("ssh", SSHD, "no sshd (.ci/debian tests)")
    with ordinary() as user:
        done = user.sh("unshare", "-Urnm", "true", code=None)
        require("netns", done.returncode == 0, f"no user namespaces: {done.stderr}")
        with machines(2) as two, agent_of(user, two):
            yield two


def test_a_users_machine_and_roots_are_one_mesh(world: Machines) -> None:
    file = world.topology(TOPOLOGY)
    planned = world("plan", file)
    assert "link radio leaves m1 by udp" in planned.stdout
    assert "may make no VXLAN device in the machine's network" in planned.stdout
    world("apply", file)
    status = world.json("status")
    ends = {x["from"]: x["tunnel"] for x in status["links"]}
    assert {tunnel["kind"] for tunnel in ends.values()} == {"udp"}
    wait_for(
        lambda: all(x["tunnel"]["joined"] for x in world.json("status")["links"]), "both have met"
    )
    # Each agent has a port of its own: two users' may be on one machine.
    ports = {x["tunnel"]["peer"].rpartition(":")[2] for x in world.json("status")["links"]}
    assert "14790" in ports
    assert len(ports) == 2
    said = world("exec", "near", "--", "ping", "-c", "3", "-i", "0.2", "far").stdout
    assert 19.5 < float(said.rsplit("=", 1)[1].split("/")[0]) < 40
    assert "nothing to change" in world("plan", file).stdout
    assert Path(f"/run/netns/{world['m1'].netns}").exists()
