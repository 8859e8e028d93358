"""Use case 1 again and again, with the same seed: the same latencies, the same packets lost.

Each run is a mesh of its own: applied, asked, destroyed; what is kept from one to the next is what
was built, and the machine's agent. Beside each module a second process has the same model without
OTTER, in the module's environment and budget (see `bare`), anew in each run as well: after each
answer the same is computed there once more. What that differs from run to run is the machine's own,
the row's limit. The first question, which is asked while these load, and what they compute first
don't count.

The link over which answers go by UDP loses LOSS of its packets. Which ones, the link's own records
tell: how many were offered to each direction, and how many of these it lost, twice in a run (the
second time after a burst of datagrams). All that has to be what the seed says, which is worked out
here anew. On links in the kernel chance has no seed, so there that row is missing.
"""

from __future__ import annotations

import os
import statistics
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.ai import accounts, bare
from benchmarks.ai.accounts import Account
from benchmarks.ai.answers import own
from benchmarks.ai.use_case import DELAYS_S, MODULES, UseCase, use_case
from benchmarks.row import Row
from examples.demo import EAR, EYE, MESH, MOUTH, PICTURE, QUESTION
from net.links.chance import chances

RUNS = int(os.environ.get("OTTER_BENCH_AI_RUNS", "20"))
QUESTIONS = 4
"""Of a run, that count: 20 runs are to take a quarter of an hour."""
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
    runs, samples = list[Run](), list[Sample]()
    before = _processor_times()
    for number in range(RUNS):
        with use_case(f"seed={SEED}", f"links.wifi.loss={LOSS['wifi']:.0%}") as asked:
            runs.append(_asked(asked))
            samples += _sampled(asked)
        print(f"  run {number + 1} of {RUNS}: {runs[-1]}", file=sys.stderr, flush=True)
    stolen = _stolen(before, _processor_times())
    return [
        *variation(runs, f"{stolen:.1%} of the processors' time went to other guests"),
        *_pattern(samples),
        own([one for run in runs for one in run.answers], "links as written"),
        Row(
            name="use case 1: apply until all modules are ready, all built", unit="s",
            better="lower", ours=statistics.median(run.apply_s for run in runs), peers={},
            limit=None, goal=None, n=RUNS,
        ),
    ]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Run:
    """One of them.

    Attributes:
        answers: What was measured of each, in order.
        alone_s: What the same models took without OTTER, after each.
        apply_s: How long its apply took.
    """

    answers: Sequence[Account]
    alone_s: Sequence[float]
    apply_s: float

    @property
    def total_s(self) -> float:
        """The median latency."""
        return statistics.median(one.total_s for one in self.answers)

    @property
    def models_s(self) -> float:
        """The median of what models computed for an answer."""
        return statistics.median(one.computing_s for one in self.answers)

    @property
    def rest_s(self) -> float:
        """The median of all else: OTTER, and the delay that links were asked for."""
        return statistics.median(one.total_s - one.computing_s for one in self.answers)

    @property
    def ratio(self) -> float:
        """The median of answers by the same computing without OTTER that followed each."""
        both = zip(self.answers, self.alone_s, strict=True)
        return statistics.median(one.total_s / alone_s for one, alone_s in both)

    def __str__(self) -> str:
        return (
            f"{self.total_s:.3f} s, {self.models_s:.3f} s of them models, which took "
            f"{statistics.median(self.alone_s):.3f} s without OTTER"
        )


def _asked(asked: UseCase) -> Run:
    """All questions of a run."""
    alone_s = list[float]()
    with bare.beside(asked, MODULES) as compute:
        answered = asked.ask(
            1 + QUESTIONS, lambda query: alone_s.append(compute(_given(query.answer)))
        )
    found = [accounts.account(query, there, DELAYS_S) for query, there in answered]
    return Run(found[1:], alone_s[1:], asked.apply_s)


def _given(answer: str) -> dict[str, Sequence[object]]:
    """What each module's model computes with, for this answer."""
    return {EAR: (QUESTION,), EYE: (PICTURE, "What animal is it?"), MOUTH: (answer,)}


def variation(runs: Sequence[Run], more: str) -> list[Row]:
    """How much the median latency differs from run to run, and what of that is the machine's.

    Args:
        runs: What was measured.
        more: For the note.
    """
    medians, rest = [run.total_s for run in runs], [run.rest_s for run in runs]
    alone = [statistics.median(run.alone_s) for run in runs]
    within = [_varied([one.total_s for one in run.answers]) for run in runs]
    peers = {
        "of the models in them": _varied([run.models_s for run in runs]),
        "by the models without OTTER": _varied([run.ratio for run in runs]),
    }
    return [
        Row(
            name=f"use case 1 in {len(runs)} runs: variation of the median latency", unit="1",
            better="lower", ours=_varied(medians), peers=peers, limit=_varied(alone),
            goal=VARIATION_GOAL, n=len(runs),
            note=f"{min(medians):.3f} to {max(medians):.3f} s, {len(runs[0].answers)} questions a "
            f"run, which vary by {statistics.median(within):.1%} within one; the limit is that of "
            f"the models without OTTER, {min(alone):.3f} to {max(alone):.3f} s; {more}",
        ),
        Row(
            name="… of all but the models, by that latency", unit="1", better="lower",
            ours=_spread(rest) / statistics.mean(medians), peers={}, limit=0.0,
            goal=VARIATION_GOAL, n=len(runs),
            note=f"{1000 * min(rest):.1f} to {1000 * max(rest):.1f} ms, delay of links with it",
        ),
    ]  # fmt: skip


def _spread(values: Sequence[float]) -> float:
    """The standard deviation."""
    return statistics.stdev(values) if len(values) > 1 else 0.0


def _varied(values: Sequence[float]) -> float:
    """The coefficient of variation."""
    return _spread(values) / statistics.mean(values)


def _processor_times() -> list[int]:
    return [int(n) for n in Path("/proc/stat").read_text().splitlines()[0].split()[1:9]]


def _stolen(before: Sequence[int], after: Sequence[int]) -> float:
    """Share of the time in which this machine's processors were another guest's: proc(5)."""
    spent = [late - early for early, late in zip(before, after, strict=True)]
    return spent[7] / max(sum(spent), 1)


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
