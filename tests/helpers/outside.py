"""An outside world for gateways: a namespace with servers, joined to the machine's own.

Also meshes with gateways and published ports, and a look at what of the machine could change.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
from helpers import netns

from otter_agent import api
from otter_agent.network import Network

HERE, THERE = "198.51.100.1", "198.51.100.2"
"""This machine as the world sees it, and the world (TEST-NET-2, RFC 5737)."""
TCP, UDP = 7001, 7002
SHUT = 7099

_SERVE = """
import socket, threading
tcp = socket.create_server(("0.0.0.0", 7001), backlog=512)
udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); udp.bind(("0.0.0.0", 7002))
def answer(c):
    with c:
        c.sendall((c.getpeername()[0] + "\\n").encode())
        while data := c.recv(1 << 16):
            c.sendall(data)
def accept():
    while True:
        threading.Thread(target=answer, args=(tcp.accept()[0],), daemon=True).start()
threading.Thread(target=accept, daemon=True).start()
print("ready", flush=True)
while True:
    data, who = udp.recvfrom(65535)
    udp.sendto(who[0].encode() + b" " + data, who)
"""


@contextlib.contextmanager
def world() -> Iterator[None]:
    """Servers at THERE: TCP says who called and then echoes; UDP answers who said what."""
    name = f"w{secrets.token_hex(3)}"
    try:
        _ip("netns", "add", name)
        _ip("link", "add", name, "type", "veth", "peer", "name", "eth0", "netns", name)
        _ip("addr", "add", f"{HERE}/30", "dev", name)
        _ip("link", "set", name, "up")
        for words in (("link", "set", "lo", "up"), ("link", "set", "eth0", "up"),
                      ("addr", "add", f"{THERE}/30", "dev", "eth0")):  # fmt: skip
            _ip("-n", name, *words)
        argv = ["ip", "netns", "exec", name, sys.executable, "-S", "-c", _SERVE]
        with subprocess.Popen(argv, stdout=subprocess.PIPE) as server:
            assert server.stdout is not None
            assert server.stdout.readline() == b"ready\n"
            try:
                yield
            finally:
                server.kill()
    finally:
        # By itself first: the kernel takes a namespace's devices away at some time after it.
        _ip("link", "del", name, check=False)
        _ip("netns", "del", name, check=False)


def _ip(*words: str, check: bool = True) -> None:
    subprocess.run(["ip", *words], check=check, capture_output=True)


@contextlib.contextmanager
def network(run: Path) -> Iterator[Network]:
    """A `Network` that can have relays; nothing of it is left afterwards."""
    agent = Network(netns.new_id(), run)
    try:
        yield agent
        for mesh in agent.meshes():
            agent.remove(mesh)
        assert netns.names(agent) == set()
        assert list((run / "outside").glob("*.s")) == []
        log = run / "outside" / "relay.log"
        assert not log.exists() or log.read_text() == ""
        assert relays(run) == []
    finally:
        for mesh in agent.meshes():
            agent.remove(mesh)


def relays(run: Path) -> list[int]:
    """Pids of the relays whose sockets are there."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            words = (folder / "cmdline").read_bytes().split(b"\0")
            if b"otter_agent.network.outside" in words and str(run).encode() in words[-2]:
                found.append(int(folder.name))
    return found


def mesh(name: str, *ports: api.Publish, count: int = 3, gateway: bool = True) -> api.MeshSpec:
    """Hosts h0 … in a row, the last a gateway; a module `m` on h0 that publishes `ports`."""
    chain = netns.chain(name, count)
    hosts = [
        msgspec.structs.replace(
            host,
            gateway=gateway and i == count - 1,
            routes=host.routes + (_outward(i, count) if gateway else ()),
        )
        for i, host in enumerate(chain.hosts)
    ]
    module = api.ModuleSpec(
        name="m", host="h0", address=netns.address(0, 2), runtime="process", publish=ports
    )
    return msgspec.structs.replace(chain, hosts=tuple(hosts), modules=(module,))


def _outward(i: int, count: int) -> tuple[api.Route, ...]:
    if i == count - 1:
        return ()
    return (api.Route(to=("0.0.0.0/0",), via=netns.address(i + 1), link=f"l{i}"),)


@contextlib.contextmanager
def module(agent: Network, spec: api.MeshSpec) -> Iterator[int]:
    """The pid of a process that is module `m`, as far as the network goes."""
    with netns.module_process() as pid:
        agent.plug(spec.name, spec.hosts[0], "m", spec.modules[0].address, pid)
        yield pid


def up(agent: Network, spec: api.MeshSpec) -> None:
    """Make a mesh and its ways to the outside."""
    agent.converge(spec)
    agent.open_outside(spec)


def carried(agent: Network, spec: api.MeshSpec, link: str) -> int:
    """Packets that a link has carried, both ways; h0 is at its first end."""
    name = next(n for n in netns.names(agent) if n.endswith(f"+{spec.name}+h0"))
    (device,) = netns.ip("-s", "link", "show", link, netns=name)
    return int(device["stats64"]["rx"]["packets"] + device["stats64"]["tx"]["packets"])


def machine() -> dict[str, Any]:
    """What of the machine's own network could be changed, and must not be."""
    shown = {what: _json("ip", "-json", *words) for what, words in _LOOK.items()}
    for link in shown["links"]:
        link.pop("stats64", None)
    rules = subprocess.run(["iptables-save"], capture_output=True, text=True, check=False).stdout
    shown["rules"] = [line for line in rules.splitlines() if line.startswith("-")]
    for key in ("ip_forward", "conf/all/rp_filter", "conf/all/route_localnet", "ping_group_range"):
        shown[key] = Path(f"/proc/sys/net/ipv4/{key}").read_text()
    shown["listening"] = listening()
    return shown


_LOOK = {
    "links": ("link",),
    "addresses": ("-4", "addr"),
    "routes": ("-4", "route", "show", "table", "all"),
    "policies": ("-4", "rule"),
}


def _json(*words: str) -> Any:
    return json.loads(subprocess.run(words, check=True, capture_output=True).stdout or "[]")


def listening() -> set[tuple[str, str]]:
    """(protocol, address:port) of all sockets of the machine that others can talk to."""
    found = set()
    for table, state in (("tcp", "0A"), ("tcp6", "0A"), ("udp", "07"), ("udp6", "07")):
        with contextlib.suppress(OSError):
            for line in Path(f"/proc/{os.getpid()}/net/{table}").read_text().splitlines()[1:]:
                fields = line.split()
                if fields[3] == state:
                    found.add((table, _readable(fields[1])))
    return found


def _readable(where: str) -> str:
    address, _, port = where.partition(":")
    if len(address) > 8:
        return f"[{address}]:{int(port, 16)}"
    return ".".join(str(b) for b in bytes.fromhex(address)[::-1]) + f":{int(port, 16)}"
