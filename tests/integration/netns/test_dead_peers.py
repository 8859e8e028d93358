"""Peers that vanish without a word, as hosts of a mesh do when their link goes: found in time."""

from __future__ import annotations

import asyncio
import os
import secrets
import subprocess
import sys
import textwrap
import time

import pytest

pytestmark = [pytest.mark.timed, pytest.mark.netns, pytest.mark.timeout(60)]

DEAD_S = 3.0
_SETUP = """
ip netns add {a}
ip netns add {b}
ip -n {a} link add v type veth peer name v netns {b}
ip -n {a} addr add 192.0.2.1/30 dev v
ip -n {b} addr add 192.0.2.2/30 dev v
ip -n {a} link set v up
ip -n {b} link set v up
"""
_RECEIVER = """
import asyncio
from net import stream
async def main():
    timing = stream.Timing(dead_s={dead})
    async with stream.listen("192.0.2.2", 7070, ["y"], timing=timing, queue=4) as listener:
        print("ready", flush=True)
        async for message in listener.inputs["y"]:
            print("got", message.value if isinstance(message.value, str) else "array", flush=True)
            while message.value == "last" and listener.connections:
                await asyncio.sleep(0.01)
            if message.value == "last":
                print("found", flush=True)
asyncio.run(main())
"""
_SENDER = """
import asyncio, sys
import numpy as np
from net import stream
async def main():
    out = stream.connect("192.0.2.2", 7070, input="y", sender="a",
                         timing=stream.Timing(dead_s={dead}))
    await out.open()
    first = out._connection
    await out.send("last")
    print("sent", flush=True)
    sys.stdin.readline()
    began = asyncio.get_running_loop().time()
    if sys.argv[1] == "busy":
        sending = asyncio.ensure_future(out.send(np.zeros(50_000_000, "u1")))
    await first.wait_closed()
    print("found", began, asyncio.get_running_loop().time(), first._cause, flush=True)
    sys.exit(0)
asyncio.run(main())
"""


@pytest.fixture
def hosts():
    """Two namespaces and a link; gone afterwards."""
    names = {key: f"dead-{key}-{secrets.token_hex(3)}" for key in "ab"}
    try:
        for line in _SETUP.format(**names).strip().splitlines():
            subprocess.run(line.split(), check=True)
        yield names
    finally:
        for name in names.values():
            subprocess.run(["ip", "netns", "del", name], check=False)


def start(netns: str, program: str, *arguments: str) -> subprocess.Popen[str]:
    words = ["ip", "netns", "exec", netns, sys.executable, "-c"]
    return subprocess.Popen(
        [*words, textwrap.dedent(program).replace("{dead}", str(DEAD_S)), *arguments],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={**os.environ},
    )  # fmt: skip


@pytest.mark.parametrize("what", ["busy", "idle"])
async def test_a_peer_behind_a_dead_link_is_found(hosts, what):
    """Busy: what was sent isn't acknowledged. Idle: the kernel's probes are not."""
    receiver = start(hosts["b"], _RECEIVER)
    sender = None
    try:
        assert receiver.stdout is not None
        assert receiver.stdout.readline() == "ready\n"
        sender = start(hosts["a"], _SENDER, what)
        assert sender.stdout is not None
        assert sender.stdin is not None
        assert receiver.stdout.readline() == "got last\n"
        assert sender.stdout.readline() == "sent\n"
        down = ["ip", "-n", hosts["b"], "link", "set", "v", "down"]
        goes_down = time.monotonic()  # the loops' clock, of all processes
        subprocess.run(down, check=True)
        sender.stdin.write("\n")
        sender.stdin.flush()
        word, began, found, *_ = (await asyncio.to_thread(sender.stdout.readline)).split()
        assert word == "found"
        # Not at once, and as docs/transport.md says; the rest is the machine's.
        assert float(found) - goes_down > DEAD_S / 2
        assert float(found) - float(began) < 1.25 * DEAD_S + 1.5
        assert (await asyncio.to_thread(receiver.stdout.readline)) == "found\n"
    finally:
        for process in filter(None, (receiver, sender)):
            process.kill()
            process.communicate()
