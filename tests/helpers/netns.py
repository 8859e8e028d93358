"""Real namespaces for tests: specs of small meshes, processes to plug, and iproute2 as witness.

What the tests compare is read by `ip`, not by the code under test.
"""

from __future__ import annotations

import json
import os
import secrets
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from otter_agent import api
from otter_agent.network import Network, namespaces

NETNS = Path("/run/netns")


def unavailable() -> str:
    """Why this machine can't run these tests; empty if it can."""
    usable, why = Network.usable()
    return "" if usable else why


def new_id() -> str:
    """An agent id that no other test has."""
    return f"t{secrets.token_hex(4)}"


@contextmanager
def network() -> Iterator[Network]:
    """A `Network` with an id of its own, whose namespaces all go afterwards."""
    agent = Network(new_id())
    try:
        yield agent
    finally:
        for mesh in agent.meshes():
            agent.remove(mesh)


# --- specs ---------------------------------------------------------------------------------------


def address(host: int, n: int = 1) -> str:
    """Address `n` of a host's block; 1 is the router's."""
    return f"100.64.{host}.{n}"


def chain(name: str, count: int) -> api.MeshSpec:
    """Hosts h0 … in a row, links l0 …, with routes between all of them."""
    hosts = tuple(chain_host(i, count) for i in range(count))
    links = tuple(api.Link(name=f"l{i}", a=f"h{i}", b=f"h{i + 1}") for i in range(count - 1))
    return api.MeshSpec(name=name, run="test", hosts=hosts, links=links)


def chain_host(i: int, count: int) -> api.HostSpec:
    """One host of a chain."""
    left = [api.Route(to=(block(j),), via=address(i - 1), link=f"l{i - 1}") for j in range(i)]
    after = range(i + 1, count)
    right = [api.Route(to=(block(j),), via=address(i + 1), link=f"l{i}") for j in after]
    return api.HostSpec(
        name=f"h{i}", address=address(i), block=block(i), routes=tuple(left + right)
    )


def block(i: int) -> str:
    """A host's block."""
    return f"100.64.{i}.0/24"


# --- processes -----------------------------------------------------------------------------------

_WAIT = """
import ctypes, sys
if ctypes.CDLL(None).unshare(0x40000000): raise SystemExit("unshare failed")
print("ready", flush=True)
sys.stdin.read()
"""


@contextmanager
def module_process() -> Iterator[int]:
    """The pid of a process in a network namespace of its own, as a held module has."""
    argv = [sys.executable, "-S", "-c", _WAIT]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        try:
            yield process.pid
        finally:
            process.kill()


def socket_in(pid: int, kind: socket.SocketKind) -> socket.socket:
    """A socket in the network namespace of a process, with a deadline on all it does."""

    def make() -> socket.socket:
        descriptor = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY)
        try:
            namespaces.join(descriptor)
        finally:
            os.close(descriptor)
        made = socket.socket(socket.AF_INET, kind)
        made.settimeout(10)
        return made

    return namespaces.in_own_thread(make)


# --- iproute2 as witness -------------------------------------------------------------------------


def names(agent: Network | str) -> set[str]:
    """Files in /run/netns of one agent."""
    agent_id = agent if isinstance(agent, str) else agent._agent_id
    found = os.listdir(NETNS) if NETNS.exists() else []
    return {name for name in found if name.startswith(f"otter-{agent_id}+")}


def ip(*argv: str, pid: int | None = None, netns: str | None = None) -> Any:
    """What `ip -json …` prints, in a process's or a named namespace."""
    command: Sequence[str] = ["ip", "-d", "-json", *argv]
    if netns is not None:
        command = ["ip", "-n", netns, *command[1:]]
    if pid is not None:
        command = ["nsenter", f"--net=/proc/{pid}/ns/net", *command]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return json.loads(done.stdout or "[]")


def snapshot(agent: Network) -> dict[str, Any]:
    """Everything in an agent's namespaces, without what differs from run to run (indices)."""
    return {name: _contents(name) for name in sorted(names(agent))}


def _contents(name: str) -> dict[str, Any]:
    links = [link for link in ip("link", netns=name) if link["link_type"] != "sit"]
    addresses = ip("-4", "address", netns=name)
    there = {
        n["nsid"]: n.get("name", "").partition("+")[2] for n in ip("netns", "list-id", netns=name)
    }
    return {
        "devices": sorted(
            (
                i["ifname"],
                i.get("address", ""),
                # NO-CARRIER: the kernel works it out a moment later; LOWER_UP is what counts.
                sorted({*i["flags"]} - {"NO-CARRIER"}),
                i["mtu"],
                there.get(i.get("link_netnsid")),
            )
            for i in links
        ),
        "addresses": sorted(
            (i["ifname"], a["local"], a["prefixlen"]) for i in addresses for a in i["addr_info"]
        ),
        "routes": sorted(
            (r["dst"], r.get("gateway", ""), r["dev"]) for r in ip("-4", "route", netns=name)
        ),
    }


def devices_now(pid: int) -> set[str]:
    """Names of the devices in a process's namespace, without the milliseconds that `ip` takes."""

    def look() -> set[str]:
        descriptor = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY)
        try:
            namespaces.join(descriptor)
        finally:
            os.close(descriptor)
        return {name for _, name in socket.if_nameindex()}

    return namespaces.in_own_thread(look)
