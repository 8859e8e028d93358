"""Links as queues of the kernel beside the `tc` that one would type: asked against measured.

    python -m benchmarks netem
    OTTER_BENCH_NETEM="bursts delays" python -m benchmarks netem    # some of it, to look at

Runs in the guest kernel of tests/kernel where this machine's has no sch_netem. There one processor
does everything, a system call takes 7 µs and timers are late, which `limit` (an unshaped link) and
the peers show as much as ours. Two modules at two hosts, a link between the hosts; times are from
just before a packet is sent to the kernel's own time of its arrival.
"""

from __future__ import annotations

import contextlib
import math
import os
import random
import socket
import statistics
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks import guest, netem_cells
from benchmarks.__main__ import PARTLY
from benchmarks.fidelity import tcp
from benchmarks.fidelity.probes import first
from benchmarks.fidelity.rate import Delivered, came
from benchmarks.row import NotHere, Row
from net.links import jitter
from net.links.spec import LinkSpec
from otter_agent.links.base import Direction
from otter_agent.links.netem import NetemDriver, segments
from otter_agent.network import names
from tests.helpers import netns
from tests.helpers.link_bench import Bench

_PORT = 4000
_STAMP = struct.Struct("=qI")
_UDP_SEGMENT, _SO_TIMESTAMPNS, _RCVBUFFORCE = 103, 35, 33
_HEADERS = 28
_DELAYS_S = (0.001, 0.005, 0.02, 0.1, 0.3)
_RATES = (1e5, 1e6, 1e7, 1e8, 5e8)
_LOSSES = (0.001, 0.01, 0.1, 0.3)
_BURSTS_OF = (1e6, 1e7, 5e7, 1e8)
_PROBES, _LOST_OF, _JITTERED = 300, 30_000, 400
_BACKLOG_S = 2.0


def rows() -> list[Row]:
    """All figures of the driver `netem`, in this kernel or in the guest."""
    _asked()
    return guest.with_netem("netem", lambda: [row for part in _asked() for row in part()])


def _asked() -> list[Callable[[], list[Row]]]:
    names = os.environ.get(PARTLY["netem"], "").split() or list(_PARTS)
    if unknown := set(names) - _PARTS.keys():
        raise NotHere(f"no part {min(unknown)!r}; there are {', '.join(_PARTS)}")
    return [_PARTS[name] for name in names]


def _delays() -> list[Row]:
    found: list[Row] = []
    for load in ("idle", "a busy process beside"):
        with beside(load):
            for delay_s in _DELAYS_S:
                found += _delay(delay_s, load)
    return found


def _chances() -> list[Row]:
    return [*(_loss(ratio) for ratio in _LOSSES), _bursts_of_loss(), _jitter()]


class Road:
    """Two plugged modules and the link between their hosts, with nobody's properties yet."""

    def __init__(self, stack: contextlib.ExitStack) -> None:
        network = stack.enter_context(netns.network())
        self.pids = [stack.enter_context(netns.module_process()) for _ in range(2)]
        spec = netns.chain("bench", 2)
        network.converge(spec)
        for number, pid in enumerate(self.pids):
            network.plug("bench", spec.hosts[number], "x", netns.address(number, 2), pid)
            segments.limit_module(pid, "bench/x", shaped=True)
        a, b = (names.namespace(network._agent_id, "bench", f"h{n}") for n in (0, 1))
        self.there = Direction("bench", "l0", "h0", "h1", a, b, "l0")
        self.driver = NetemDriver()
        self.driver.probe()  # as the agent does: how late are timers here?
        stack.callback(self.driver.forget, "bench")
        self.sender, self.receiver = (netns.socket_in(p, socket.SOCK_DGRAM) for p in self.pids)
        for one in (self.sender, self.receiver):
            stack.enter_context(one)
            one.setsockopt(socket.SOL_SOCKET, _RCVBUFFORCE, 256 << 20)
        self.to = (netns.address(1, 2), _PORT)
        self.receiver.bind(self.to)
        self.receiver.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)

    def shape(self, ours: LinkSpec | None, tc: str = "") -> None:
        """By the driver, or by hand."""
        if ours is not None:
            error = self.driver.apply({self.there: ours})[self.there].error
            if error is not None:
                raise error
        elif tc:
            argv = ["tc", "-n", self.there.source_netns, "qdisc", "replace", "dev", "l0", "root"]
            subprocess.run([*argv, *tc.split()], check=True)

    def send(self, count: int, size: int = 100, gap_s: float = 0.0, train: int = 1) -> None:
        """Numbered packets of so many bytes (IP)."""
        payload = size - _HEADERS
        self.sender.setsockopt(socket.IPPROTO_UDP, _UDP_SEGMENT, payload if train > 1 else 0)
        filling = bytes(payload - _STAMP.size)
        for begin in range(0, count, train):
            now = time.time_ns()
            last = min(count, begin + train)
            data = b"".join(_STAMP.pack(now, n) + filling for n in range(begin, last))
            self.sender.sendto(data, self.to)
            if gap_s:
                time.sleep(gap_s)

    def arrivals(self, quiet_s: float) -> list[tuple[int, float, float]]:
        """(number, sent, arrived) in s, until nothing came for a while."""
        self.receiver.settimeout(quiet_s)
        found = []
        with contextlib.suppress(TimeoutError):
            while True:
                data, extra, _, _ = self.receiver.recvmsg(2048, 128)
                sent, number = _STAMP.unpack_from(data)
                seconds, part = struct.unpack("=qq", extra[0][2][:16])
                found.append((number, sent / 1e9, seconds + part / 1e9))
        return found

    def arrived(self) -> tuple[float, int, int]:
        """Now, and packets and IP bytes that the receiving module's device has counted."""
        text = Path(f"/proc/{self.pids[1]}/net/dev").read_text()
        values = text.partition("eth0:")[2].split()
        return time.monotonic(), int(values[1]), int(values[0]) - 14 * int(values[1])


@contextlib.contextmanager
def path(ours: LinkSpec | None, tc: str = "") -> Iterator[Road]:
    with contextlib.ExitStack() as stack:
        road = Road(stack)
        road.shape(ours, tc)
        yield road


@contextlib.contextmanager
def beside(load: str) -> Iterator[None]:
    if load == "idle":
        yield
        return
    with subprocess.Popen([sys.executable, "-S", "-c", "while True: pass"]) as busy:
        try:
            yield
        finally:
            busy.kill()


# --- delay ----------------------------------------------------------------------------------------


def delays(way: tuple[LinkSpec | None, str], asked_s: float) -> list[float]:
    """Errors of a delay, sorted."""
    with first(), path(*way) as road:
        road.send(_PROBES, gap_s=0.004)
        return sorted(b - a - asked_s for _, a, b in road.arrivals(asked_s + 0.3))


def timers_late(count: int) -> list[float]:
    """What a process that runs before others is woken late by, sorted: no qdisc can be better."""
    found = []
    with first():
        for _ in range(count):
            due = time.monotonic() + 0.001
            time.sleep(0.001)
            found.append(time.monotonic() - due)
    return sorted(found)


def _delay(delay_s: float, load: str) -> list[Row]:
    ways: dict[str, tuple[LinkSpec | None, str]] = {
        "ours": (LinkSpec(delay_s=delay_s), ""),
        "tc netem": (None, f"netem delay {delay_s * 1000}ms"),
        "none": (None, ""),
    }
    errors: dict[str, list[float]] = {}
    for name, way in ways.items():
        errors[name] = delays(way, 0.0 if name == "none" else delay_s)
    late = timers_late(_PROBES)
    name = f"netem: error of a delay of {delay_s * 1000:g} ms, {load}"
    idle = load == "idle"
    goals = {"median": max(0.15e-3, 0.01 * delay_s), "p99": 1e-3 if idle else 3e-3}
    found = []
    for what, goal in goals.items():
        at = {who: _quantile(values, what) for who, values in errors.items()}
        row = _row(f"{name}, {what}", "s", at["ours"], goal, _PROBES, at)
        row["limit"] = at["none"] + _quantile(late, what)
        row["peers"]["a bare timer"] = _quantile(late, what)
        row["note"] = "limit: an unshaped link's, and what this machine's timers are late by"
        found.append(row)
    return found


def _quantile(values: Sequence[float], what: str) -> float:
    return statistics.median(values) if what == "median" else values[int(len(values) * 0.99)]


# --- rate -----------------------------------------------------------------------------------------


def shapers(rate_bps: float) -> dict[str, tuple[LinkSpec | None, str]]:
    burst = max(3100, round(rate_bps / 8 / 250))
    return {
        "ours": (LinkSpec(rate_bps=rate_bps, queue_s=1.0), ""),
        "tc netem": (None, f"netem rate {rate_bps:.0f}bit limit 50000"),
        "tc tbf": (None, f"tbf rate {rate_bps:.0f}bit burst {burst} latency 1s"),
    }


def _goodput(rate_bps: float) -> Row:
    size, lasting_s = (500, 20.0) if rate_bps <= 1e6 else (1500, 4.0)
    found: dict[str, float] = {}
    ways = {**shapers(rate_bps), "none": (None, "")}
    for name, way in ways.items():
        with path(*way) as road:
            done = threading.Event()
            thread = threading.Thread(target=flood, args=(road, rate_bps, size, done))
            thread.start()
            time.sleep(1.0)
            begun, _, before = road.arrived()
            time.sleep(lasting_s)
            ended, _, after = road.arrived()
            done.set()
            thread.join()
            found[name] = (after - before) * 8 / (ended - begun) / rate_bps - 1
    name = f"netem: error of a rate of {rate_bps / 1e6:g} Mbit/s (packets of {size} bytes)"
    ours = abs(found["ours"])
    row = _row(name, "1", ours, 0.02, 1, {k: abs(v) for k, v in found.items()})
    return row | {"limit": max(0.0, -found["none"])}


def _tcp() -> list[Row]:
    """At its receiver: what the guest can carry."""
    with contextlib.closing(NetemDriver()) as driver, Bench(driver) as bench:
        driver.probe()
        return tcp.rows(tcp.measured(bench, False, ((1e5, 1e6, 1e7), (1e8,)), 5e7), "netem: ")


def flood(road: Road, rate_bps: float, size: int, done: threading.Event) -> None:
    """A fifth more than the rate, in trains."""
    train = 40 if rate_bps > 1e7 else 4
    each_s = train * size * 8 / (1.2 * rate_bps)
    due = time.monotonic()
    while not done.is_set():
        road.send(train, size, train=train)
        due = max(due + each_s, time.monotonic() - 0.05)
        time.sleep(max(0.0, due - time.monotonic()))


def _burst(rate_bps: float) -> list[Row]:
    """Packets more than rate x time, at most: since the first was sent, and in any stretch."""
    count = backlog(rate_bps)
    found = {name: drained(way, rate_bps, count) for name, way in shapers(rate_bps).items()}
    name = f"netem: packets beyond {rate_bps / 1e6:g} Mbit/s at most"
    since = {who: its.ahead for who, its in found.items()}
    together = {who: its.together for who, its in found.items()}
    late = timers_late(500)
    late_s = late[-5]
    note = (
        "limit: what comes due while a timer is late, 1 in 100; tbf's bucket is its own; bare "
        f"timers {statistics.median(late) * 1e3:.2g} ms late, {late_s * 1e3:.2g} ms p99; "
        f"ours had {found['ours'].share:.2%} of the rate meanwhile"
    )
    row = _row(f"{name}, in any stretch of time", "1", together["ours"], 2.0, count, together)
    return [
        _row(f"{name}, since the first was sent", "1", since["ours"], 2.0, count, since),
        row | {"limit": 1 + late_s * rate_bps / 8 / 1500, "note": note},
    ]


def backlog(rate_bps: float) -> int:
    """So many packets that a late timer or two are among their times."""
    return max(400, round(_BACKLOG_S * rate_bps / 12_000))


def drained(way: tuple[LinkSpec | None, str], rate_bps: float, count: int) -> Delivered:
    """What came of a backlog of so many packets."""
    spec, tc = way
    if spec is not None:
        spec = replace(spec, queue_s=None, queue_packets=count)
    with path(spec, tc.replace("latency 1s", f"limit {2000 * count}")) as road:
        road.send(count, 1500, train=40)
        arrivals = sorted(road.arrivals(0.5), key=lambda one: one[-1])
    return came(arrivals, rate_bps)


# --- chance ---------------------------------------------------------------------------------------


def _loss(ratio: float) -> Row:
    """How far from what was asked, in standard deviations of chance."""
    ways: dict[str, tuple[LinkSpec | None, str]] = {
        "ours": (LinkSpec(loss_ratio=ratio), ""),
        "tc netem": (None, f"netem loss {ratio * 100}% limit 100000"),
    }
    found = {}
    for name, way in ways.items():
        with path(*way) as road:
            before = road.arrived()[1]
            road.send(_LOST_OF, 60, train=60)
            lost = _LOST_OF - (road.arrived()[1] - before)
            spread = math.sqrt(_LOST_OF * ratio * (1 - ratio))
            found[name] = abs(lost - _LOST_OF * ratio) / spread
    name = f"netem: error of a loss of {ratio:.1%}, in standard deviations"
    return _row(name, "1", found["ours"], 2.576, _LOST_OF, found)


def _bursts_of_loss() -> Row:
    """Mean length of bursts of Gilbert-Elliott, 1/r asked: relative error."""
    ways: dict[str, tuple[LinkSpec | None, str]] = {
        "ours": (LinkSpec(loss_gilbert=(0.02, 0.2, 1.0, 0.0)), ""),
        "tc netem": (None, "netem loss gemodel 2% 20% 100% 0% limit 100000"),
    }
    found, bursts = {}, 0
    for name, way in ways.items():
        with path(*way) as road:
            road.send(_LOST_OF, 60, train=60)
            got = {number for number, *_ in road.arrivals(0.5)}
        flags = [number not in got for number in range(_LOST_OF)]
        bursts = sum(b and not a for a, b in zip([False, *flags], flags, strict=False))
        found[name] = abs(sum(flags) / bursts / 5.0 - 1)
    return _row(
        "netem: error of the length of loss bursts", "1", found["ours"], 0.05, bursts, found
    )


def _jitter() -> Row:
    """Two-sample Kolmogorov-Smirnov against the asked distribution, in its 1 % critical value."""
    ways: dict[str, tuple[LinkSpec | None, str]] = {
        "ours": (LinkSpec(delay_s=0.03, jitter_s=0.005), ""),
        "tc netem": (None, "netem delay 30ms 5ms distribution normal"),
    }
    chance = random.Random(1)
    table = jitter.table("normal")
    asked = sorted(0.03 + 0.005 * chance.choice(table) for _ in range(20_000))
    found = {}
    for name, way in ways.items():
        with path(*way) as road:
            road.send(_JITTERED, gap_s=0.045)
            delays = sorted(b - a for _, a, b in road.arrivals(0.5))
        critical = 1.63 * math.sqrt((len(delays) + len(asked)) / (len(delays) * len(asked)))
        found[name] = _distance(delays, asked) / critical
    name = "netem: jitter (normal, 5 ms) against the asked, of the 1 % critical distance"
    return _row(name, "1", found["ours"], 1.0, _JITTERED, found)


def _distance(one: Sequence[float], other: Sequence[float]) -> float:
    """Largest difference of two samples' cumulative distributions; both sorted."""
    most, i, j = 0.0, 0, 0
    while i < len(one) and j < len(other):
        if one[i] <= other[j]:
            i += 1
        else:
            j += 1
        most = max(most, abs(i / len(one) - j / len(other)))
    return most


# --- changes --------------------------------------------------------------------------------------


def _changes() -> Row:
    """Of delay, one by one and read back; `tc -batch` reads nothing back."""
    count = 1000
    with path(LinkSpec(delay_s=0.01)) as road:
        begun = time.perf_counter()
        for number in range(count):
            road.shape(LinkSpec(delay_s=0.01 + number * 1e-6))
        ours = (time.perf_counter() - begun) / count
    with path(None, "netem delay 10ms") as road:
        batch = "".join(
            f"qdisc change dev l0 root netem delay {10_000 + number}us\n" for number in range(count)
        )
        argv = ["tc", "-n", road.there.source_netns, "-batch", "-"]
        begun = time.perf_counter()
        subprocess.run(argv, input=batch, text=True, check=True)
        peer = (time.perf_counter() - begun) / count
    note = "with the guest's system calls: some 7 µs each"
    row = _row(
        "netem: a change of one link, read back", "s", ours, 1e-3, count, {"tc -batch": peer}
    )
    return row | {"note": note}


def _row(
    name: str, unit: str, ours: float, goal: float | None, n: int, others: dict[str, Any]
) -> Row:
    peers = {who: value for who, value in others.items() if who not in ("ours", "none")}
    return {
        "name": name, "unit": unit, "better": "lower", "ours": ours, "peers": peers,
        "limit": None, "goal": goal, "n": n,
    }  # fmt: skip


_PARTS: dict[str, Callable[[], list[Row]]] = {
    "delays": _delays,
    "rates": lambda: [_goodput(rate_bps) for rate_bps in _RATES],
    "bursts": lambda: [row for rate_bps in _BURSTS_OF for row in _burst(rate_bps)],
    "chances": _chances,
    "tcp": _tcp,
    "changes": lambda: [_changes()],
    "cells": netem_cells.rows,
}
