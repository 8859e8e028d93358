"""Kernel links that change over time: ours, the `tc` that one would type, and bare timers.

    python -m benchmarks netem-time

Runs in the guest kernel of tests/kernel where this machine's has no sch_netem. A thousand changes a
second: the agent with a mesh, with a bare timer in the same seconds; after it a loop that does
nothing but send messages written beforehand at their time, `tc -batch`, and timers alone. Traces: a
mesh; after it the same steps typed into `tc -batch` at their time. All in one run, since what a
virtual machine's timers are late by is another every minute.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from benchmarks import timeline, traces
from benchmarks.fidelity.probes import first
from benchmarks.mesh import agent, cpu_s
from benchmarks.netem import Road
from benchmarks.row import NotHere, Row
from net.links.spec import LinkSpec
from net.links.traces.trace import Trace
from otter_agent.links.netem import NetemDriver
from otter_agent.links.netem.playing import letters
from otter_agent.links.netem.playing.post import Mail

_SECONDS = 60.0
_PEERS_S = 15.0
_EVERY_S = 0.001
_START = LinkSpec(delay_s=0.01, rate_bps=1e7)
_SENDER = """
import socket, sys, time
s = socket.socket(fileno=int(sys.argv[1]))
to, until = (sys.argv[2], int(sys.argv[3])), time.monotonic() + float(sys.argv[4])
start, count = time.monotonic(), 0
while (now := time.monotonic()) < until:
    while count < (now - start) * 25e6 / 8 / 1200:
        try:
            s.sendto(bytes(1172), to)
        except OSError:
            pass
        count += 1
    time.sleep(0.001)
"""


@dataclass(frozen=True, slots=True)
class Paced:
    """What somebody used who did something at its time, over and over.

    Attributes:
        cores: Of processors.
        late_s: By how much each was late, sorted.
    """

    cores: float
    late_s: list[float]

    def quantile(self, share: float) -> float:
        """Of the lateness."""
        return self.late_s[int(len(self.late_s) * share)] if self.late_s else 0.0


def rows() -> list[Row]:
    """All of it, in this kernel or in the guest."""
    if os.geteuid() != 0:
        raise NotHere("links need root")
    if NetemDriver().probe().usable:
        return [*_changes(), *_traces()]
    guest = ["tests.kernel.guest", "--limit", "900", "--", sys.executable, "-m", "benchmarks"]
    command = [sys.executable, "-m", *guest, "netem-time", "--json"]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=False)
    if done.returncode:
        raise NotHere("no sch_netem here, and no guest kernel that has it")
    found: list[Row] = json.loads(done.stdout)["rows"]
    return found


# --- a thousand changes a second ------------------------------------------------------------------


def _changes() -> list[Row]:
    found = timeline.told(timeline.measure(_SECONDS), _SECONDS)
    bare, typed, timers = _bare(), _typed(), _timers()
    cores = {"messages written beforehand, in a loop": bare.cores, "tc -batch": typed.cores}
    for row in found:
        if "cores" in row["name"]:
            row["peers"] = cores
        for words, share in (("median", 0.5), ("99th", 0.99), ("at most", 0.99999)):
            if words in row["name"]:
                row["peers"] = {next(iter(cores)): bare.quantile(share)}
                row["limit"] = row["limit"] or timers.quantile(share)
    return [Row(**{**row, "name": f"netem: {row['name']}"}) for row in found]


def _paced(each: Callable[[int], object], seconds: float = _PEERS_S) -> Paced:
    """Do something a thousand times a second, before all others."""
    late: list[float] = []
    with first():
        used, start = time.process_time(), time.monotonic()
        for number in range(round(seconds / _EVERY_S)):
            due = start + number * _EVERY_S
            if (left := due - time.monotonic()) > 0:
                time.sleep(left)
            each(number)
            late.append(time.monotonic() - due)
        cores = (time.process_time() - used) / (time.monotonic() - start)
    return Paced(cores, sorted(late))


def _timers() -> Paced:
    """Who does nothing at all."""
    return _paced(lambda number: None)


def _bare() -> Paced:
    """The same messages as ours of one link, without anything else."""
    specs = [LinkSpec(delay_s=0.01 + n * 1e-3, rate_bps=1e7 + n * 1e6) for n in range(100)]
    with _road() as road, contextlib.closing(Mail()) as mail:
        road.shape(_START)
        (lent,), _ = road.driver.lend({road.there: specs})
        place = letters.place_of(lent)
        written = [letters.write(place, spec, lent.late_ns, 1) for spec in [*specs, *specs]][100:]
        ends = [
            (road.there.target_netns, lent.inodes[1]), (road.there.source_netns, lent.inodes[0])
        ]  # fmt: skip
        assert not mail.open(ends)

        def send(number: int) -> None:
            letter = written[number % 100]
            mail.send(ends[0], letter.target)
            mail.send(ends[1], letter.source)

        return _paced(send)


def _typed() -> Paced:
    """A line a change: a delay and a rate of one qdisc. When it is in force, `tc` doesn't say."""
    lines = [
        f"qdisc change dev l0 root netem delay {10 + n}ms rate {10 + n}mbit\n".encode()
        for n in range(100)
    ]
    with _road() as road:
        road.shape(None, "netem delay 10ms rate 10mbit")
        argv = ["tc", "-n", road.there.source_netns, "-batch", "-"]
        with subprocess.Popen(argv, stdin=subprocess.PIPE, bufsize=0) as tc:
            assert tc.stdin is not None
            pipe = tc.stdin
            before, begun = cpu_s(tc.pid), time.monotonic()
            paced = _paced(lambda number: pipe.write(lines[number % 100]))
            used = (cpu_s(tc.pid) - before) / (time.monotonic() - begun)
            pipe.close()
    return Paced(paced.cores + used, paced.late_s)


@contextlib.contextmanager
def _road() -> Iterator[Road]:
    with contextlib.ExitStack() as stack:
        yield Road(stack)


# --- traces ---------------------------------------------------------------------------------------


def _traces() -> list[Row]:
    found: list[Row] = []
    for step_s in traces.STEPS_S:
        trace = traces.walk(step_s)
        with agent() as (otterctl, folder):
            driver, epoch, packets = traces.measure(otterctl, folder, trace)
            shown = timeline.shown(otterctl)["lateness"]
        peers = {
            "tc netem rate": _by_hand(trace, _netem_rate),
            "tc htb": _by_hand(trace, _htb, _HTB),
        }
        late = _timers().quantile(0.99)
        note = (
            f"link driver {driver}; changes late by {shown['mean_s'] * 1e3:.2g} ms on average, "
            f"{shown['p99_s'] * 1e3:.2g} ms p99; bare timers {late * 1e3:.2g} ms p99"
        )
        for bin_s in traces.BINS_S:
            areas = {name: traces.area(trace, at, got, bin_s) for name, (at, got) in peers.items()}
            found.append(
                Row(
                    name=f"netem: rate trace, step {step_s:g} s: area in bins of {bin_s:g} s",
                    unit="1", better="lower", ours=traces.area(trace, epoch, packets, bin_s),
                    peers=areas, limit=None, goal=traces.GOAL, n=1, note=note,
                )
            )  # fmt: skip
    return found


_HTB = (
    "qdisc replace dev l0 root handle 1: htb default 1",
    "class replace dev l0 parent 1: classid 1:1 htb rate 5mbit burst 3000 cburst 3000",
    "qdisc replace dev l0 parent 1:1 bfifo limit 60000",
)


def _netem_rate(rate_bps: float) -> str:
    limit = max(10, round(0.05 * rate_bps / 8 / 1200))  # as long as ours: 50 ms, ten packets
    return f"qdisc replace dev l0 root netem delay 1ms rate {rate_bps:.0f}bit limit {limit}"


def _htb(rate_bps: float) -> str:
    rate = f"rate {rate_bps:.0f}bit burst 3000 cburst 3000"
    return f"class change dev l0 parent 1: classid 1:1 htb {rate}"


def _by_hand(
    trace: Trace, line: Callable[[float], str], before: Sequence[str] = ()
) -> tuple[float, list[tuple[float, int]]]:
    """The epoch, and all packets that came, with each step typed at its time."""
    steps = list(zip(trace.times_s, trace.columns["rate_bps"], strict=True))
    with _road() as road:
        tc = [*("tc", "-n", road.there.source_netns), "-batch", "-"]
        first_lines = [*before, line(steps[0][1])]
        subprocess.run(tc, input="\n".join(first_lines) + "\n", text=True, check=True)
        words = [str(road.sender.fileno()), *map(str, road.to), str(traces.SECONDS + 1.2)]
        sender = subprocess.Popen(
            [sys.executable, "-c", _SENDER, *words], pass_fds=[road.sender.fileno()]
        )
        with sender, subprocess.Popen(tc, stdin=subprocess.PIPE, text=True, bufsize=1) as typing:
            assert typing.stdin is not None
            time.sleep(0.2)  # the queue is full when the trace begins
            epoch, start = time.time(), time.monotonic()
            with first():
                for at_s, rate_bps in steps[1:]:
                    time.sleep(max(0.0, start + at_s - time.monotonic()))
                    typing.stdin.write(line(rate_bps) + "\n")
            sender.wait()
        return epoch, [(at, 1200) for *_, at in road.arrivals(0.5)]
