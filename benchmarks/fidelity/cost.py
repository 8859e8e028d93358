"""What links cost: packets a second, Gbit/s, idle links, a change, a mesh of 200 links."""

from __future__ import annotations

import socket
import statistics
import time
from pathlib import Path

from benchmarks.fidelity.case import Result, row
from benchmarks.fidelity.probes import PORT, UDP_SEGMENT, cpu_s
from benchmarks.mesh import agent
from benchmarks.mesh import run as command
from benchmarks.row import Row
from net.links.spec import LinkSpec
from otter_agent.links.base import Counters, Direction
from otter_agent.links.tun import device
from otter_agent.links.tun.driver import TunDriver
from tests.helpers.link_bench import Bench, Link, handled, in_netns, tcp_copy

FLOOD_S, FLOODS = 3.0, 3
TCP_BYTES, COPIES = 1_000_000_000, 3
IDLE_LINKS, IDLE_S = 200, 10.0
CHANGES = 2000
HOSTS, LINKS, RUNS = 100, 200, 3
UP_GOAL_S, DOWN_GOAL_S = 2.0, 1.0


def run(bench: Bench, quick: bool) -> Result:
    """All of it; the driver is `tun`."""
    driver = bench.driver
    assert isinstance(driver, TunDriver)
    times = 1 if quick else FLOODS
    link, result = bench.make_link(), Result()
    for what, spec in {
        "1 % loss": LinkSpec(loss_ratio=0.01),
        "loss, delay, jitter": LinkSpec(loss_ratio=0.01, delay_s=0.02, jitter_s=0.002),
        "a rate": LinkSpec(rate_bps=10e9),
    }.items():
        result.rows += _flood(bench, link, driver, what, spec, times)
    result.rows += [
        _tcp(bench, link, driver, times),
        _changes(bench, link),
        _idle(bench, link, driver),
    ]
    result.rows += mesh(1 if quick else RUNS)
    return result


def _flood(
    bench: Bench, link: Link, driver: TunDriver, what: str, spec: LinkSpec, times: int
) -> list[Row]:
    """More than it can carry, in packets of 1400 bytes."""
    bench.apply(link.there, spec)
    rates, each = [], []
    for _ in range(times):
        before, used = _carried(bench.counters(link.there)), cpu_s(driver.pid)
        passed_s = _offer(link)
        count = _carried(bench.counters(link.there)) - before
        used_s = cpu_s(driver.pid) - used
        rates.append(count / passed_s)
        each.append(used_s / count)
    note = f"beside a sender that never waits, {statistics.median(each) * 1e6:.1f} µs of CPU each"
    rate = statistics.median(rates)
    name = f"packets/s with {what}"
    return [row(name, "1/s", rate, 100_000, times, better="higher", note=note)]


def _offer(link: Link) -> float:
    sender, _, address = link.ends(link.there)
    sender.setblocking(True)
    sender.setsockopt(socket.IPPROTO_UDP, UDP_SEGMENT, 1372)
    train, begun = bytes(1372 * 40), time.monotonic()
    while time.monotonic() - begun < FLOOD_S:
        sender.sendto(train, (address, PORT))
    passed_s = time.monotonic() - begun
    sender.setsockopt(socket.IPPROTO_UDP, UDP_SEGMENT, 0)
    sender.setblocking(False)
    return passed_s


def _carried(counters: Counters) -> int:
    """Packets that the helper has dealt with: all but those that it never saw."""
    return handled(counters) - counters.dropped.get("overrun", 0)


def _tcp(bench: Bench, link: Link, driver: TunDriver, times: int) -> Row:
    for direction in (link.there, link.back):
        bench.apply(direction, LinkSpec())
    rates, used, begun_all = [], cpu_s(driver.pid), time.monotonic()
    for _ in range(times):
        begun = time.monotonic()
        count = tcp_copy(link, TCP_BYTES)
        rates.append(count * 8 / (time.monotonic() - begun))
    share = (cpu_s(driver.pid) - used) / (time.monotonic() - begun_all)
    rate = statistics.median(rates)
    name = "one TCP connection, no property, MTU 1500"
    note = f"{share:.0%} of a core"
    return row(name, "bit/s", rate, 2e9, times, better="higher", note=note)


def _changes(bench: Bench, link: Link) -> Row:
    taken = []
    for number in range(CHANGES):
        begun = time.monotonic()
        bench.apply(link.there, LinkSpec(delay_s=0.01 + number * 1e-6, rate_bps=1e7 + number))
        taken.append(time.monotonic() - begun)
    name = "a change of one link, read back"
    return row(name, "s", statistics.median(taken), 1e-3, CHANGES)


def _idle(bench: Bench, link: Link, driver: TunDriver) -> Row:
    """All between two namespaces."""
    there, names = link.there, [f"i{number}" for number in range(IDLE_LINKS)]

    def devices() -> None:
        for name in names:
            device.make(name)

    for netns in (there.source_netns, there.target_netns):
        in_netns(netns, devices)
    spec = LinkSpec(delay_s=0.01, loss_ratio=0.01)
    asked = {_other(there, name): spec for name in names}
    assert not [one for one in driver.apply(asked).values() if one.error]
    used = cpu_s(driver.pid)
    time.sleep(IDLE_S)
    share = (cpu_s(driver.pid) - used) / IDLE_S
    return row(f"{IDLE_LINKS} idle links, of a core", "1", share, 0.01, 1)


def _other(there: Direction, name: str) -> Direction:
    return Direction(there.mesh, name, "a", "b", there.source_netns, there.target_netns, name)


def mesh(times: int = RUNS) -> list[Row]:
    """With the installed commands, from start to exit; one module, so that links are all of it."""
    ups, downs = [], []
    with agent() as (otterctl, folder):
        file = Path(folder) / "mesh.toml"
        file.write_text(topology())
        for _ in range(times):
            ups.append(command(otterctl, "apply", str(file)))
            downs.append(command(otterctl, "destroy", "--yes", "--no-fetch"))
    name = f"a mesh of {HOSTS} hosts and {LINKS} shaped links"
    return [
        row(f"{name}: up", "s", statistics.median(ups), UP_GOAL_S, times),
        row(f"{name}: down", "s", statistics.median(downs), DOWN_GOAL_S, times),
    ]


def topology() -> str:
    """Two rings of links, the second over every other host."""
    text = 'name = "rings"\n[modules.m]\nhost = "h0"\nruntime = "process"\n'
    text += 'command = ["sleep", "1000000"]\n'
    for n in range(HOSTS):
        text += f"[hosts.h{n}]\n"
    for n in range(LINKS):
        a, b = n % HOSTS, (n + 1 + n // HOSTS) % HOSTS
        text += f'[[links]]\nbetween = ["h{a}", "h{b}"]\ndelay = "{5 + n % 20}ms"\n'
        text += 'rate = "20mbit"\nloss = "0.1%"\n'
    return text
