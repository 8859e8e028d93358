"""Use case 1 again and again, with the same seed: the same latencies, the same packets lost.

Each run is a mesh of its own: applied, asked, destroyed. The link over which answers go by UDP
loses LOSS of its packets. Which ones, the link's own records tell: how many were offered to each
direction, and how many of these it lost, twice in a run (the second time after a burst of
datagrams). All that has to be what the seed says, which is worked out here anew. On links in the
kernel chance has no seed, so there that row is missing.
"""

from __future__ import annotations

import os
import statistics
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from benchmarks.ai import accounts
from benchmarks.ai.answers import own
from benchmarks.ai.use_case import DELAYS_S, UseCase, use_case
from benchmarks.row import Row
from examples.demo import EYE, MESH
from net.links.chance import chances

RUNS = int(os.environ.get("OTTER_BENCH_AI_RUNS", "5"))
QUESTIONS = 3
SEED = 7
LOSS = {"radio": 0.005, "wifi": 0.05}
"""Link -> share of its packets; the topology's own loss for one, more for the other."""
VARIATION_GOAL = 0.03
BURST = """
import socket, time
out = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
for _ in range(400):
    out.sendto(b"x", ("speaker", 9))
    time.sleep(0.001)
time.sleep(0.2)
"""

Sample = tuple[str, str, str, int, int]
"""Link, from, to, packets offered, packets lost."""


def rows() -> list[Row]:
    """How much medians differ from run to run, whether losses do, and OTTER's own share."""
    medians, applies, samples, found = [], [], list[Sample](), []
    for run in range(RUNS):
        with use_case(f"seed={SEED}", f"links.wifi.loss={LOSS['wifi']:.0%}") as asked:
            mine = [accounts.account(q, there, DELAYS_S) for q, there in asked.ask(QUESTIONS)]
            samples += _sampled(asked)
        found += mine
        applies.append(asked.apply_s)
        medians.append(statistics.median(one.total_s for one in mine))
        print(f"  run {run + 1} of {RUNS}: {medians[-1]:.3f} s", file=sys.stderr, flush=True)
    variation = statistics.stdev(medians) / statistics.mean(medians) if RUNS > 1 else 0.0
    return [
        Row(
            name=f"use case 1 in {RUNS} runs: variation of the median latency", unit="1",
            better="lower", ours=variation, peers={}, limit=0.0, goal=VARIATION_GOAL, n=RUNS,
            note=f"{min(medians):.3f} to {max(medians):.3f} s, {QUESTIONS} questions a run",
        ),
        *_pattern(samples),
        own(found, "links as written"),
        Row(
            name="use case 1: apply until all modules are ready, all built", unit="s",
            better="lower", ours=statistics.median(applies), peers={}, limit=None, goal=None,
            n=RUNS,
        ),
    ]  # fmt: skip


def _sampled(asked: UseCase) -> list[Sample]:
    """What all directions of links count now, and after a burst."""
    before = counted(asked.status()["links"])
    asked.otterctl("exec", "-m", MESH, EYE, "--", "python3", "-c", BURST)
    return [*before, *counted(asked.status()["links"])]


def counted(links: Iterable[Mapping[str, Any]]) -> list[Sample]:
    """What the links that are carried in user space count: only those are seeded."""
    found = []
    for link in links:
        if link["driver"] == "tun" and (counters := link.get("counters")):
            dropped: Mapping[str, int] = counters["dropped"]
            gone = sum(dropped.values()) - counters["duplicated"]
            offered = counters["packets"] + counters["waiting_packets"] + gone
            ends = link["name"], link["from"], link["to"]
            found.append((*ends, offered, dropped.get("loss", 0)))
    return found


def replayed(link: str, source: str, target: str, offered: int) -> int:
    """How many of the first packets of a direction the seed loses."""
    draw = chances(SEED, link, source, target)("loss")
    return sum(draw() < LOSS[link] for _ in range(offered))


def _pattern(samples: Sequence[Sample]) -> list[Row]:
    if not samples:
        return []
    right = [
        lost == replayed(link, source, target, offered)
        for link, source, target, offered, lost in samples
    ]
    offered, lost = sum(one[3] for one in samples), sum(one[4] for one in samples)
    row = Row(
        name=f"use case 1 in {RUNS} runs: losses that are the seed's", unit="1", better="higher",
        ours=sum(right) / len(right), peers={}, limit=1.0, goal=1.0, n=len(right),
        note=f"{lost} packets of {offered} lost, counted twice a run and direction",
    )  # fmt: skip
    return [row]
