"""Asks an agent by one road, in a process of the controller's namespace."""

from __future__ import annotations

import json
import subprocess
import sys

_ASK = """
import asyncio, json, os
from pathlib import Path
from otter_ctl.client import AgentClient
from otter_ctl.errors import RemoteError
from otter_ctl.ssh import Road
from otter_ctl.topology.site import known_machines

async def asks(machine, path):
    async with Road(machine) as road:
        open_ = road.open(path)
        async with AgentClient(Path(path), machine.name, open_) as agent:
            many = [(await agent.info()).machine for _ in range(3)]
        async with asyncio.TaskGroup() as group:
            runs = [group.create_task(road.run(["echo", str(n)])) for n in range(5)]
        said = [run.result().stdout.decode().strip() for run in runs]
        return {"info": many, "said": said, "address": await road.address()}

async def main():
    machine = known_machines(None)["m1"]
    try:
        print(json.dumps(await asks(machine, os.environ.get("SOCKET") or machine.socket)))
    except RemoteError as error:
        print(json.dumps({"error": error.args[0], "hint": error.hint}))

asyncio.run(main())
"""


def ask(world, within=(), **env):
    """What came of it; `within` is a command that runs it somewhere else yet."""
    command = [*world.command()[:2], *within, sys.executable, "-c", _ASK]
    done = subprocess.run(command, env={**world.env, **env}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)
