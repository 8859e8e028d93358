"""How soon a change by hand is in force: from the API's call to the first packet that meets it.

A module sends a packet each 0.5 ms to one on another host, while the delay of the link between them
is changed to and fro over the agent's socket (`PATCH …/links`: it is checked, written down and
brought into force before the answer). A change is there with the first packet that takes the longer
delay, by the time of its sending; packets' delays are by the kernel's own time of their arrival.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import statistics
import struct
import subprocess
import threading
import time
from pathlib import Path

from benchmarks.fidelity.probes import first
from benchmarks.mesh import agent, run
from benchmarks.row import NotHere, Row
from otter_agent import api
from otter_ctl.client import AgentClient
from tests.helpers import netns

COUNT = 50
SHORT_S, LONG_S = 0.005, 0.015
GOAL_S = 0.1
_STEP_S, _BETWEEN_S = 0.0005, 0.05
_PORT, _SO_TIMESTAMPNS = 9000, 35
_STAMP, _TIME = struct.Struct("=q"), struct.Struct("=qq")
MESH = f"""
name = "shaped"
[defaults.module]
runtime = "process"
[hosts.a]
[hosts.b]
[[links]]
name = "radio"
between = ["a", "b"]
delay = "{SHORT_S}s"
[modules.near]
host = "a"
command = ["sleep", "1000000"]
[modules.far]
host = "b"
command = ["sleep", "1000000"]
"""


def rows() -> list[Row]:
    """Until the packet, and until the answer."""
    if os.geteuid() != 0:
        raise NotHere("needs root")
    return measured(COUNT)


def measured(count: int, driver: str = "") -> list[Row]:
    """Of so many changes."""
    with agent() as (otterctl, folder):
        (folder / "mesh.toml").write_text(MESH)
        run(otterctl, "apply", str(folder / "mesh.toml"))
        command = [*otterctl, "status", "--json"]
        status = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
        modules = {module["name"]: module for module in status["modules"]}
        calls, packets = _changed(folder / "a" / "run" / "agent.sock", modules, count)
    felt = sorted(_first_s(begun, packets) - begun for begun, _ in calls)
    answered = sorted(ended - begun for begun, ended in calls)
    what = f"{driver}a delay changed by hand, worst of {count}"
    return [
        _row(f"{what}: from the API's call to the first packet with it", felt, GOAL_S),
        _row(f"{what}: from the API's call to its answer", answered, None),
    ]


def _changed(
    agent_socket: Path, modules: dict[str, dict[str, object]], count: int
) -> tuple[list[tuple[float, float]], list[tuple[float, float]]]:
    """(begun, answered) of the changes to the longer delay; (sent, arrived) of all packets."""
    pids = [int(str(modules[name]["pid"])) for name in ("near", "far")]
    sender, receiver = (netns.socket_in(pid, socket.SOCK_DGRAM) for pid in pids)
    packets: list[tuple[float, float]] = []
    with sender, receiver:
        receiver.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
        receiver.bind(("0.0.0.0", _PORT))
        sender.connect((str(modules["far"]["address"]), _PORT))
        done = threading.Event()
        threads = [
            threading.Thread(target=_send, args=(sender, done)),
            threading.Thread(target=_receive, args=(receiver, packets)),
        ]
        for thread in threads:
            thread.start()
        calls = asyncio.run(_calls(agent_socket, count))
        done.set()
        for thread in threads:
            thread.join()
    return calls, packets


async def _calls(agent_socket: Path, count: int) -> list[tuple[float, float]]:
    found = []
    async with AgentClient(agent_socket) as client:
        for number in range(2 * count):
            delay_s = SHORT_S if number % 2 else LONG_S
            change = api.LinkChange(link="radio", direction="a>b", set={"delay_s": delay_s})
            await asyncio.sleep(_BETWEEN_S)
            begun = time.time()
            await client.shape("shaped", [change])
            if delay_s == LONG_S:
                found.append((begun, time.time()))
    await asyncio.sleep(_BETWEEN_S)
    return found


def _send(sender: socket.socket, done: threading.Event) -> None:
    with first():
        while not done.is_set():
            sender.send(_STAMP.pack(time.time_ns()))
            time.sleep(_STEP_S)
        sender.send(_STAMP.pack(0))


def _receive(receiver: socket.socket, packets: list[tuple[float, float]]) -> None:
    while True:
        data, extra, _, _ = receiver.recvmsg(64, 256)
        (sent,) = _STAMP.unpack(data)
        if not sent:
            return
        seconds, part = _TIME.unpack(extra[0][2])
        packets.append((sent / 1e9, seconds + part / 1e9))


def _first_s(begun: float, packets: list[tuple[float, float]]) -> float:
    """When the first was sent, after that, that took the longer delay."""
    longer_s = (SHORT_S + LONG_S) / 2
    return next(sent for sent, at in packets if sent > begun and at - sent > longer_s)


def _row(name: str, found: list[float], goal: float | None) -> Row:
    return {
        "name": name, "unit": "s", "better": "lower", "ours": found[-1], "peers": {}, "limit": None,
        "goal": goal, "n": len(found), "note": f"median {statistics.median(found) * 1e3:.2g} ms",
    }  # fmt: skip
