"""How well a link follows a trace: the area between asked and delivered rate, in bins.

A sender offers more than any rate of the trace by UDP for 20 s; the receiver's kernel stamps each
packet. The area is the sum over bins of |delivered - asked|, as a share of all that was asked; the
first and last 2 s are left out, and bins begin the link's delay later than the trace's. Of a
packet-delivery trace it is also told how late each full packet was after its opportunity.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import time
from bisect import bisect_right
from collections.abc import Iterator
from pathlib import Path

from benchmarks.mesh import agent, run
from benchmarks.row import NotHere, Row
from net.links.traces.generate import Recipe, generate
from net.links.traces.trace import Manner, Played, Trace

SECONDS = 20.0
EDGE_S = 2.0
DELAY_S = 0.001
RATES_BPS = (1e6, 20e6)
OFFERED_BPS = 25e6
GOAL = 0.03
BINS_S = (0.1, 0.5)
STEPS_S = (0.5, 0.1)

MESH = """
name = "traced"
[defaults.module]
runtime = "process"
[hosts.a]
[hosts.b]
[[links]]
name = "radio"
between = ["a", "b"]
delay = "1ms"
rate = "5mbit"
queue = "50ms"
trace = { file = "walk.csv", loop = false }
reverse = { trace = "none" }
[modules.near]
host = "a"
command = ["sleep", "1000000"]
[modules.far]
host = "b"
command = ["sleep", "1000000"]
"""
RECEIVE = """
import socket, struct
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
s.setsockopt(socket.SOL_SOCKET, 35, 1)  # SO_TIMESTAMPNS
s.bind(("0.0.0.0", 9000))
print("bound", flush=True)
found = []
while True:
    try:
        data, ancillary, _, _ = s.recvmsg(2048, 256)
    except TimeoutError:
        break
    s.settimeout(3)
    seconds, nanos = struct.unpack("qq", ancillary[0][2])
    found.append(f"{seconds + nanos * 1e-9:.6f} {len(data) + 28}")
print("\\n".join(found))
"""
SEND = f"""
import socket, time
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.connect(("far", 9000))
start, count, payload = time.monotonic(), 0, bytes(SIZE - 28)
while (now := time.monotonic() - start) < {SECONDS + 1}:
    while count < now * {OFFERED_BPS} / 8 / SIZE:
        s.send(payload)
        count += 1
    time.sleep(0.001)
"""


def rows() -> list[Row]:
    """Areas for a rate that changes every 0.5 s and every 0.1 s."""
    if os.geteuid() != 0:
        raise NotHere("needs root")
    found: list[Row] = []
    for step_s in STEPS_S:
        trace = walk(step_s)
        with agent() as (otterctl, folder):
            driver, epoch, packets = measure(otterctl, folder, trace)
        found += [
            Row(
                name=f"rate trace, a step each {step_s:g} s: area in bins of {bin_s:g} s",
                unit="1", better="lower", ours=area(trace, epoch, packets, bin_s), peers={},
                limit=None, goal=GOAL, n=1, note=f"link driver {driver}",
            )
            for bin_s in BINS_S
        ]  # fmt: skip
    return [*found, *packet_rows()]


def packet_rows() -> list[Row]:
    """Opportunities drawn as a cellular network's: at random, a rate that walks to and fro."""
    times = _opportunities(Played(walk(0.1), Manner(loop=False)), random.Random(3))
    with agent() as (otterctl, folder):
        (folder / "cell.mm").write_text("\n".join(str(round(at * 1000)) for at in times) + "\n")
        driver, epoch, packets = play(otterctl, folder, MESH.replace("walk.csv", "cell.mm"), 1500)
    note = f"link driver {driver}, {len(times)} opportunities"
    found: list[Row] = []
    for bin_s in BINS_S:
        asked = [0.0] * round(SECONDS / bin_s)
        for at in times:
            asked[min(len(asked) - 1, int(at / bin_s + 1e-9))] += 1500 * 8
        inside = asked[round(EDGE_S / bin_s) : -round(EDGE_S / bin_s)]
        came = _delivered(len(inside), epoch, packets, bin_s)
        found.append(
            Row(
                name=f"mahimahi trace: area in bins of {bin_s:g} s", unit="1", better="lower",
                ours=between(inside, came), peers={}, limit=None, goal=GOAL, n=1, note=note,
            )
        )  # fmt: skip
    late = sorted(_lateness(times, [at - epoch - DELAY_S for at, _ in packets]))
    for share, name in ((0.5, "median"), (0.99, "p99")):
        found.append(
            Row(
                name=f"mahimahi trace: a packet after its opportunity, {name}", unit="s",
                better="lower", ours=late[int(share * (len(late) - 1))], peers={}, limit=None,
                goal=None, n=len(late), note=note,
            )
        )  # fmt: skip
    return found


def _opportunities(played: Played, draw: random.Random) -> list[float]:
    """Whole milliseconds, up to the end."""
    found: list[float] = []
    now = 0.0
    while True:
        rate = played.values(now)["rate_bps"]
        assert isinstance(rate, float)
        now += draw.expovariate(rate / (1500 * 8))
        if now >= SECONDS:
            return [*found, SECONDS]
        found.append(round(now, 3))


def _lateness(times: list[float], arrivals: list[float]) -> Iterator[float]:
    """How long after its opportunity each packet came, all being full and always some waiting."""
    first = bisect_right(times, EDGE_S)
    while times[first] - times[first - 1] < 0.0015:  # at one that stands alone they are told apart
        first += 1
    inside = [at for at in arrivals if at > times[first] - 0.0005]
    for seen, at in zip(inside, times[first:], strict=False):
        if seen < SECONDS - EDGE_S:
            yield seen - at


def walk(step_s: float) -> Trace:
    """A rate that goes up and down."""
    return generate(
        Recipe(
            model="random-walk", seed=3, rates_bps=RATES_BPS, length_s=SECONDS, step_s=step_s,
            change=0.3,
        )
    )  # fmt: skip


def measure(
    otterctl: list[str], folder: Path, trace: Trace
) -> tuple[str, float, list[tuple[float, int]]]:
    """The link driver, the epoch, and all packets that came: when, and their IP bytes."""
    points = zip(trace.times_s, trace.columns["rate_bps"], strict=True)
    lines = [f"{time_s!r},{rate!r}bit" for time_s, rate in points]
    (folder / "walk.csv").write_text("\n".join(["time,rate", *lines]) + "\n")
    return play(otterctl, folder, MESH, 1200)


def play(
    otterctl: list[str], folder: Path, mesh: str, size: int
) -> tuple[str, float, list[tuple[float, int]]]:
    """The same of a mesh, with packets of so many IP bytes."""
    (folder / "mesh.toml").write_text(mesh)
    run(otterctl, "apply", str(folder / "mesh.toml"))
    run(otterctl, "timeline", "reset")
    inside = [*otterctl, "exec"]
    with subprocess.Popen(
        [*inside, "far", "--", "python3", "-c", RECEIVE], stdout=subprocess.PIPE, text=True
    ) as receiver:
        assert receiver.stdout is not None
        assert receiver.stdout.readline() == "bound\n"
        with subprocess.Popen([*inside, "near", "--", "python3", "-c", f"SIZE = {size}\n{SEND}"]):
            time.sleep(0.2)  # the queue is full when the trace begins
            told = subprocess.run(
                [*otterctl, "timeline", "start", "--json"], capture_output=True, check=True
            )
        received = receiver.stdout.read()
    shown = subprocess.run([*otterctl, "status", "--json"], capture_output=True, check=True)
    driver = json.loads(shown.stdout)["links"][0]["driver"]
    packets = [(float(at), int(size)) for at, size in map(str.split, received.splitlines())]
    return driver, float(json.loads(told.stdout)["epoch"]), packets


def area(trace: Trace, epoch: float, packets: list[tuple[float, int]], bin_s: float) -> float:
    """Between asked and delivered, as a share of all that was asked."""
    return between(*binned(trace, epoch, packets, bin_s))


def between(asked: list[float], delivered: list[float]) -> float:
    """The area between two, as a share of the first."""
    return sum(abs(a - b) for a, b in zip(asked, delivered, strict=True)) / sum(asked)


def binned(
    trace: Trace, epoch: float, packets: list[tuple[float, int]], bin_s: float
) -> tuple[list[float], list[float]]:
    """Bits asked for and delivered, by bins from `EDGE_S` on."""
    count = round((SECONDS - 2 * EDGE_S) / bin_s)
    asked = [_asked(trace, EDGE_S + n * bin_s, EDGE_S + (n + 1) * bin_s) for n in range(count)]
    return asked, _delivered(count, epoch, packets, bin_s)


def _delivered(
    count: int, epoch: float, packets: list[tuple[float, int]], bin_s: float
) -> list[float]:
    """Bits of packets that came, by so many bins from `EDGE_S` on."""
    delivered = [0.0] * count
    for at, size in packets:
        place = int((at - epoch - DELAY_S - EDGE_S) // bin_s)
        if 0 <= place < count:
            delivered[place] += size * 8
    return delivered


def _asked(trace: Trace, start_s: float, end_s: float) -> float:
    """Bits that a trace lets through from one moment to another."""
    played, total, now = Played(trace, Manner(loop=False)), 0.0, start_s
    while now < end_s:
        following = min(played.next_change(now), end_s)
        rate = played.values(now)["rate_bps"]
        assert isinstance(rate, float)
        total += rate * (following - now)
        now = following
    return total
