"""In and out of a mesh: how fast a published port and a gateway carry, and answer.

A module two links away takes 256 MiB over TCP: through a published port, or sends them to a server
of this machine through a gateway. The limit: the same two links without a relay, from the router
of the host at which the outside enters. All on one machine, so sender, relay, receiver share its
cores. The round trips are 64 bytes there and back, one after the other.
"""

from __future__ import annotations

import contextlib
import socket
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from benchmarks.row import NotHere, Row
from otter_agent import api
from otter_agent.network import Network, names

AGENT, MESH = "bench0", "bench"
TOTAL = 256 << 20
RUNS = 5
TRIPS = 2000
GOAL_RATE = 200e6
"""Bytes per second: more than a link of a gigabit can carry."""
GOAL_TRIP_S = 200e-6

_TAKE = """
import ctypes, socket, sys
if sys.argv[1] == "own" and ctypes.CDLL(None).unshare(0x40000000): raise SystemExit(1)
print("ready", flush=True)
sys.stdin.readline()
server = socket.create_server(("", int(sys.argv[2])))
print("listening", flush=True)
while True:
    with server.accept()[0] as c:
        c.setsockopt(6, 1, 1)
        if c.recv(1, socket.MSG_WAITALL) == b"t":
            while data := c.recv(64, socket.MSG_WAITALL):
                c.sendall(data)
        else:
            buffer, got = bytearray(1 << 20), 0
            while n := c.recv_into(buffer):
                got += n
            c.sendall(b"%d" % got)
"""
_GIVE = f"""
import socket, sys, time
c = socket.create_connection((sys.argv[1], int(sys.argv[2])))
c.setsockopt(6, 1, 1)
if sys.argv[3] == "trips":
    c.sendall(b"t")
    begin = time.perf_counter()
    for _ in range({TRIPS}):
        c.sendall(bytes(64))
        c.recv(64, socket.MSG_WAITALL)
    print((time.perf_counter() - begin) / {TRIPS})
else:
    chunk = bytes(1 << 20)
    begin = time.perf_counter()
    c.sendall(b"r")
    for _ in range({TOTAL >> 20}):
        c.sendall(chunk)
    c.shutdown(1)
    assert int(c.recv(99)) == {TOTAL}
    print({TOTAL} / (time.perf_counter() - begin))
"""


def rows() -> list[Row]:
    """Rates and round trips, measured turn by turn."""
    usable, why = Network.usable()
    if not usable:
        raise NotHere(why)
    with tempfile.TemporaryDirectory() as run, contextlib.ExitStack() as stack:
        network = Network(AGENT, Path(run))
        stack.callback(network.remove, MESH)
        port, server_port = _free_port(), _free_port()
        spec = _mesh(port)
        network.converge(spec)
        network.open_outside(spec)
        module = stack.enter_context(_taker("own", 8000, network, spec))
        stack.enter_context(_taker("machine's", server_port))
        ways = {
            "publish": [sys.executable, "-c", _GIVE, "127.0.0.1", str(port)],
            "gateway": ["nsenter", f"--net=/proc/{module}/ns/net", sys.executable, "-c", _GIVE,
                        _own_address(), str(server_port)],
            "links": ["ip", "netns", "exec", names.namespace(AGENT, MESH, "h2"), sys.executable,
                      "-c", _GIVE, "100.64.0.2", "8000"],
        }  # fmt: skip
        rates, trips = (
            {way: _median(argv, what) for way, argv in ways.items()} for what in ("rate", "trips")
        )
    return [
        row
        for way in ("publish", "gateway")
        for row in (
            _row(f"outside.{way}.rate", "B/s", rates[way], rates["links"]),
            _row(f"outside.{way}.round_trip", "s", trips[way], trips["links"]),
        )
    ]


def _row(name: str, unit: str, ours: float, limit: float) -> Row:
    rate = unit == "B/s"
    return Row(
        name=name, unit=unit, better="higher" if rate else "lower", ours=ours, peers={},
        limit=limit, goal=GOAL_RATE if rate else GOAL_TRIP_S, n=RUNS,
    )  # fmt: skip


def _median(argv: list[str], what: str) -> float:
    def once() -> float:
        done = subprocess.run([*argv, what], check=True, capture_output=True, text=True)
        return float(done.stdout)

    once()
    return statistics.median(once() for _ in range(RUNS))


@contextlib.contextmanager
def _taker(
    where: str, port: int, network: Network | None = None, spec: api.MeshSpec | None = None
) -> Iterator[int]:
    """The pid of a server: in a namespace of its own, plugged in as module `m`, or here."""
    argv = [sys.executable, "-c", _TAKE, where, str(port)]
    with subprocess.Popen(
        argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            process.stdout.readline()
            if network is not None and spec is not None:
                network.plug(MESH, spec.hosts[0], "m", "100.64.0.2", process.pid)
            process.stdin.write("go\n")
            process.stdin.flush()
            process.stdout.readline()
            yield process.pid
        finally:
            process.kill()


def _mesh(port: int) -> api.MeshSpec:
    """h0 - h1 - h2: a module at one end, a gateway at the other."""
    out = ("0.0.0.0/0",)
    hosts = (
        _host(0, (1, "l0", ("100.64.1.0/24", "100.64.2.0/24", *out))),
        _host(1, (0, "l0", ("100.64.0.0/24",)), (2, "l1", ("100.64.2.0/24", *out))),
        _host(2, (1, "l1", ("100.64.0.0/24", "100.64.1.0/24")), gateway=True),
    )
    publish = (api.Publish(port=8000, listen_port=port, host="h2"),)
    module = api.ModuleSpec(
        name="m", host="h0", address="100.64.0.2", runtime="process", publish=publish
    )
    links = tuple(api.Link(name=f"l{i}", a=f"h{i}", b=f"h{i + 1}") for i in range(2))
    return api.MeshSpec(name=MESH, run="bench", hosts=hosts, links=links, modules=(module,))


def _host(i: int, *hops: tuple[int, str, tuple[str, ...]], gateway: bool = False) -> api.HostSpec:
    routes = tuple(
        api.Route(to=to, via=f"100.64.{neighbour}.1", link=link) for neighbour, link, to in hops
    )
    return api.HostSpec(
        name=f"h{i}", address=f"100.64.{i}.1", block=f"100.64.{i}.0/24", routes=routes,
        gateway=gateway,
    )  # fmt: skip


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _own_address() -> str:
    """An address of this machine other than its loopback's."""
    shown = subprocess.run(
        ["ip", "-4", "-o", "addr", "show", "scope", "global"],
        check=True, capture_output=True, text=True,
    ).stdout  # fmt: skip
    if not shown:
        raise NotHere("this machine has no address but its loopback's")
    return shown.split()[3].partition("/")[0]
