"""Links in user space: how exact their delay is, what they carry, what they cost.

    python -m benchmarks links

Delay is from just before a packet is sent to the kernel's own time of its arrival, so the sender's
system call counts, and a receiver that is late doesn't. Packets are sent in trains that the kernel
cuts (UDP_SEGMENT), else the sender would be what is measured. Needs root and /dev/net/tun.
"""

from __future__ import annotations

import contextlib
import os
import socket
import statistics
import struct
import tempfile
import time
from pathlib import Path

from benchmarks.fidelity.probes import busy_cores, first
from benchmarks.row import NotHere, Row
from net.links.spec import LinkSpec
from otter_agent.links.base import Counters, Direction
from otter_agent.links.tun import device
from otter_agent.links.tun.driver import TunDriver
from tests.helpers.link_bench import Bench, Link, handled, in_netns, tcp_copy

_DELAYS_S = (0.001, 0.01, 0.1, 0.3)
_PROBES, _GAP_S = 500, 0.004
_FLOOD_S = 3.0
_RATES_BPS, _RATE_S = (1e6, 10e6, 100e6, 500e6), 5.0
_TCP_BYTES = 1_000_000_000
_IDLE_LINKS, _IDLE_S = 200, 5.0
_CHANGES = 2000
_UDP_SEGMENT, _SO_TIMESTAMPNS = 103, 35
_STAMP = struct.Struct("=q")
_TIME = struct.Struct("=qq")


def rows() -> list[Row]:
    """All figures of the driver `tun`."""
    if os.geteuid() != 0:
        raise NotHere("links need root")
    with tempfile.TemporaryDirectory() as folder:
        driver = TunDriver(Path(folder) / "links")
        facts = driver.probe()
        if not facts.usable:
            raise NotHere(facts.detail)
        try:
            with Bench(driver) as bench:
                return _rows(bench, driver)
        finally:
            driver.end()


def _rows(bench: Bench, driver: TunDriver) -> list[Row]:
    link = bench.make_link()
    found = [row for delay_s in _DELAYS_S for row in _delay(bench, link, delay_s, "idle")]
    with busy_cores():
        for delay_s in _DELAYS_S:
            found += _delay(bench, link, delay_s, "every core busy")
    for what, spec in {
        "loss": LinkSpec(loss_ratio=0.01),
        "loss, delay, jitter": LinkSpec(loss_ratio=0.01, delay_s=0.02, jitter_s=0.002),
        "rate": LinkSpec(rate_bps=10e9),
    }.items():
        found += _flood(bench, link, driver, what, spec)
    found += [_rate(bench, rate_bps) for rate_bps in _RATES_BPS]
    found += [_tcp(bench, link), _changes(bench, link), _idle(bench, link, driver)]
    return found


# --- delay ----------------------------------------------------------------------------------------


def _delay(bench: Bench, link: Link, delay_s: float, load: str) -> list[Row]:
    bench.apply(link.there, LinkSpec(delay_s=delay_s))
    errors = sorted(found - delay_s for found in _delays(link, delay_s))
    goal_s = max(0.15e-3, 0.01 * delay_s)
    tail_s = 3e-3 if load != "idle" else 1e-3
    name = f"tun: error of a delay of {delay_s * 1000:g} ms, {load}"
    return [
        _row(f"{name}, median", "s", statistics.median(errors), goal_s, len(errors), ""),
        _row(f"{name}, p99", "s", errors[int(len(errors) * 0.99)], tail_s, len(errors), ""),
    ]


def _delays(link: Link, delay_s: float) -> list[float]:
    """One-way delays of packets sent one by one."""
    sender, receiver, address = link.ends(link.there)
    receiver.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
    with first():
        for _ in range(_PROBES):
            sender.sendto(_STAMP.pack(time.time_ns()) + bytes(92), (address, 4000))
            time.sleep(_GAP_S)
    time.sleep(delay_s + 0.2)
    found: list[float] = []
    with contextlib.suppress(BlockingIOError):
        while True:
            data, extra, _, _ = receiver.recvmsg(2048, 256)
            seconds, nanoseconds = _TIME.unpack(extra[0][2])
            sent = _STAMP.unpack_from(data)[0]
            found.append((seconds * 1_000_000_000 + nanoseconds - sent) / 1e9)
    receiver.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 0)
    return found


# --- how much -------------------------------------------------------------------------------------


def _flood(bench: Bench, link: Link, driver: TunDriver, what: str, spec: LinkSpec) -> list[Row]:
    """More than it can carry, in packets of 1400 bytes."""
    bench.apply(link.there, spec)
    sender, _, address = link.ends(link.there)
    sender.setblocking(True)
    sender.setsockopt(socket.IPPROTO_UDP, _UDP_SEGMENT, 1372)
    train = bytes(1372 * 40)
    before, used = _carried(bench.counters(link.there)), _cpu_s(driver.pid)
    begun = time.monotonic()
    while time.monotonic() - begun < _FLOOD_S:
        sender.sendto(train, (address, 4000))
    passed_s = time.monotonic() - begun
    count = _carried(bench.counters(link.there)) - before
    used_s = _cpu_s(driver.pid) - used
    sender.setsockopt(socket.IPPROTO_UDP, _UDP_SEGMENT, 0)
    sender.setblocking(False)
    note = f"{used_s / passed_s:.0%} of a core beside a sender that never waits"
    return [
        _row(f"tun: packets/s with {what}", "1/s", count / passed_s, 100_000, 1, note, "higher"),
        _row(f"tun: CPU per packet with {what}", "s", used_s / count, None, 1, note),
    ]


def _carried(counters: Counters) -> int:
    """Packets that the helper has dealt with: all but those that it never saw."""
    return handled(counters) - counters.dropped.get("overrun", 0)


def _rate(bench: Bench, rate_bps: float) -> Row:
    """A third more than the rate, for some seconds: by how much what is delivered is off."""
    link = bench.make_link()
    bench.apply(link.there, LinkSpec(rate_bps=rate_bps))
    sender, _, address = link.ends(link.there)
    sender.setblocking(True)
    train = 20 if rate_bps > 50e6 else 1
    sender.setsockopt(socket.IPPROTO_UDP, _UDP_SEGMENT, 1372)
    data, sent = bytes(1372 * train), 0
    begun = time.monotonic()
    while (passed_s := time.monotonic() - begun) < _RATE_S:
        if sent * 1400 * 8 < 1.33 * rate_bps * passed_s + 50_000:
            sender.sendto(data, (address, 4000))
            sent += train
        else:
            time.sleep(0.0005)
    delivered = bench.counters(link.there).bytes * 8 / passed_s
    bench.apply(link.there, LinkSpec(up=False))
    name = f"tun: error of a rate of {rate_bps / 1e6:g} Mbit/s"
    return _row(name, "1", abs(delivered / rate_bps - 1), 0.02, 1, "")


def _tcp(bench: Bench, link: Link) -> Row:
    for direction in (link.there, link.back):
        bench.apply(direction, LinkSpec())
    begun = time.monotonic()
    count = tcp_copy(link, _TCP_BYTES)
    rate = count * 8 / (time.monotonic() - begun)
    return _row("tun: one TCP connection, no property", "bit/s", rate, 2e9, 1, "", "higher")


# --- what it costs --------------------------------------------------------------------------------


def _changes(bench: Bench, link: Link) -> Row:
    begun = time.monotonic()
    for number in range(_CHANGES):
        bench.apply(link.there, LinkSpec(delay_s=0.01 + number * 1e-6, rate_bps=1e7 + number))
    each = (time.monotonic() - begun) / _CHANGES
    return _row("tun: a change of one link, read back", "s", each, 1e-3, _CHANGES, "")


def _idle(bench: Bench, link: Link, driver: TunDriver) -> Row:
    """All between two namespaces."""
    there = link.there

    def devices() -> None:
        for number in range(_IDLE_LINKS):
            device.make(f"i{number}")

    for netns in (there.source_netns, there.target_netns):
        in_netns(netns, devices)
    names = [f"i{number}" for number in range(_IDLE_LINKS)]
    asked = {_other(there, name): LinkSpec(delay_s=0.01, loss_ratio=0.01) for name in names}
    assert not [one for one in driver.apply(asked).values() if one.error]
    used = _cpu_s(driver.pid)
    time.sleep(_IDLE_S)
    share = (_cpu_s(driver.pid) - used) / _IDLE_S
    return _row(f"tun: {_IDLE_LINKS} idle links, of a core", "1", share, 0.01, 1, "")


def _other(there: Direction, name: str) -> Direction:
    return Direction(there.mesh, name, "a", "b", there.source_netns, there.target_netns, name)


def _cpu_s(pid: int) -> float:
    """Seconds that a process's only thread has run (/proc/PID/schedstat)."""
    return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) / 1e9


def _row(
    name: str, unit: str, ours: float, goal: float | None, n: int, note: str, better: str = "lower"
) -> Row:
    row: Row = {
        "name": name, "unit": unit, "better": "higher" if better == "higher" else "lower",
        "ours": ours, "peers": {}, "limit": None, "goal": goal, "n": n,
    }  # fmt: skip
    if note:
        row["note"] = note
    return row
