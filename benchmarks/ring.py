"""A ring of 100 hosts and 100 links: network up, and down until its devices are gone.

Ours: `Network.converge` and `Network.remove` of what `otterctl plan` makes of the topology, with
routes from every host to every other; `ring.up_unmerged` has them one by one, 9,900 in all.
Mininet 2.3 (Debian's): the same hosts and links without any route, and its `stop` isn't waited
for any further. The limit: two `ip -batch` calls that make the bare namespaces and veth pairs,
and one that deletes them, waited for as ours is (the sentinel of teardown.py).
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.row import NotHere, Row
from otter_agent import api
from otter_agent.network import Network, namespaces, teardown
from otter_ctl.planning.resolve import plan
from otter_ctl.topology import load

HOSTS = 100
RUNS = 5
GOAL_TIMES_FASTER = 8

_MININET = f"""
import json, time
from mininet.log import setLogLevel
from mininet.net import Mininet
setLogLevel("error")
begin = time.perf_counter()
net = Mininet(controller=None)
hosts = [net.addHost("h%d" % i) for i in range({HOSTS})]
for i in range({HOSTS}):
    net.addLink(hosts[i], hosts[(i + 1) % {HOSTS}])
net.start()
up = time.perf_counter()
net.stop()
print(json.dumps([up - begin, time.perf_counter() - up]))
"""

Pair = tuple[float, float]
"""Seconds up and down."""


def rows() -> list[Row]:
    """Up and down, and up with unmerged routes, measured turn by turn."""
    usable, why = Network.usable()
    if not usable:
        raise NotHere(why)
    merged, unmerged = planned(HOSTS), ring("ring", HOSTS)
    contenders: dict[str, Callable[[], Pair]] = {
        "ours": lambda: _ours(merged),
        "unmerged": lambda: _ours(unmerged),
    }
    if shutil.which("ip"):
        contenders["limit"] = _ip_batch
    if _mininet() is not None:  # also its warm-up
        contenders["mininet"] = lambda: _mininet() or (float("nan"), float("nan"))
    taken: dict[str, list[Pair]] = {name: [] for name in contenders}
    for _ in range(RUNS):
        for name, measure in contenders.items():
            taken[name].append(measure())
    up = {name: statistics.median(t[0] for t in times) for name, times in taken.items()}
    down = {name: statistics.median(t[1] for t in times) for name, times in taken.items()}
    return [
        _row("up", up["ours"], up, merged),
        _row("up_unmerged", up["unmerged"], up, unmerged),
        _row("down", down["ours"], down, merged),
    ]


def _row(way: str, ours: float, others: dict[str, float], spec: api.MeshSpec) -> Row:
    mininet = others.get("mininet")
    routes = sum(len(host.routes) for host in spec.hosts)
    return {
        "name": f"ring.{way}",
        "unit": "s",
        "better": "lower",
        "ours": ours,
        "peers": {} if mininet is None else {"mininet": mininet},
        "limit": others.get("limit"),
        "goal": None if mininet is None else mininet / GOAL_TIMES_FASTER,
        "n": RUNS,
        "note": f"{HOSTS} hosts, {HOSTS} links; ours with {routes} routes, the others without",
    }


def planned(hosts: int) -> api.MeshSpec:
    """What the controller makes of a topology with hosts in a ring."""
    lines = ['name = "ring"', *(f"[hosts.h{i}]" for i in range(hosts))]
    lines += [
        f'[[links]]\nname = "l{i}"\nbetween = ["h{i}", "h{(i + 1) % hosts}"]' for i in range(hosts)
    ]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "ring.toml"
        path.write_text("\n".join(lines))
        topology = load(path)
    return plan(topology, current=None, runtime_default="process", blobs={}, run="bench").spec


def ring(name: str, hosts: int) -> api.MeshSpec:
    """Hosts in a ring, each with a route to every other the shorter way round."""
    links = tuple(api.Link(name=f"l{i}", a=f"h{i}", b=f"h{(i + 1) % hosts}") for i in range(hosts))
    return api.MeshSpec(
        name=name, run="bench", links=links, hosts=tuple(_host(i, hosts) for i in range(hosts))
    )


def _host(i: int, hosts: int) -> api.HostSpec:
    def route(j: int) -> api.Route:
        forward = (j - i) % hosts <= hosts // 2
        via, link = ((i + 1) % hosts, i) if forward else ((i - 1) % hosts, (i - 1) % hosts)
        return api.Route(to=(_block(j),), via=_block(via).replace(".0/24", ".1"), link=f"l{link}")

    return api.HostSpec(
        name=f"h{i}",
        address=_block(i).replace(".0/24", ".1"),
        block=_block(i),
        routes=tuple(route(j) for j in range(hosts) if j != i),
    )


def _block(i: int) -> str:
    return f"100.{64 + i // 256}.{i % 256}.0/24"


def _ours(spec: api.MeshSpec) -> Pair:
    network = Network(f"bench{os.getpid()}")
    return _timed(lambda: network.converge(spec), lambda: network.remove("ring"))


def _ip_batch() -> Pair:
    names = [f"bench{os.getpid()}-{i}" for i in range(HOSTS)]
    pairs = zip(names, [*names[1:], names[0]], strict=True)
    add = "".join(f"netns add {name}\n" for name in names)
    links = "".join(
        f"link add l{i} netns {a} type veth peer name l{i} netns {b}\n"
        for i, (a, b) in enumerate(pairs)
    )
    delete = "".join(f"netns del {name}\n" for name in names)

    def up() -> None:
        _ip(add)
        _ip(links)

    def down() -> None:
        _ip(delete)
        namespaces.in_own_thread(lambda: teardown.destroy([], "benchmark", lambda: None))

    return _timed(up, down)


def _timed(up: Callable[[], object], down: Callable[[], object]) -> Pair:
    begin = time.perf_counter()
    try:
        up()
        middle = time.perf_counter()
    finally:
        down()
    return middle - begin, time.perf_counter() - middle


def _ip(lines: str) -> None:
    subprocess.run(["ip", "-batch", "-"], input=lines, text=True, check=True, capture_output=True)


def _mininet() -> Pair | None:
    """One run of Mininet in the system's Python; None where it isn't installed."""
    done = subprocess.run(
        ["/usr/bin/python3", "-c", _MININET], text=True, capture_output=True, check=False
    )
    if done.returncode:
        print(f"Mininet not measured: {done.stderr.strip()[-200:]}", file=sys.stderr)
        return None
    up, down = json.loads(done.stdout.splitlines()[-1])
    return up, down


if __name__ == "__main__":
    print(json.dumps(rows(), indent=1))
