"""Use case 1 again and again, with the same seed: the same latencies, the same packets lost.

Each run is a mesh of its own: applied, asked, destroyed. A question goes before those that count.
Then the same models compute the same without OTTER, each in its module's budget (see `bare`): what
that differs from run to run is the machine's own, the row's limit. The link over which answers go
by UDP loses LOSS of its packets. Which ones, the link's own records tell: how many were offered to
each direction, and how many of these it lost, twice in a run (the second time after a burst of
datagrams). All that has to be what the seed says, which is worked out here anew. On links in the
kernel chance has no seed, so there that row is missing.
"""

from __future__ import annotations

import os
import statistics
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.ai import accounts, bare
from benchmarks.ai.accounts import Account
from benchmarks.ai.answers import own
from benchmarks.ai.use_case import DELAYS_S, UseCase, use_case
from benchmarks.row import Row
from examples.demo import EAR, EYE, MESH, MOUTH, PICTURE, QUESTION
from net.links.chance import chances

RUNS = int(os.environ.get("OTTER_BENCH_AI_RUNS", "5"))
QUESTIONS = 6
"""Of a run, that count."""
SEED = 7
LOSS = {"radio": 0.005, "wifi": 0.05}
"""Link -> share of its packets; the topology's own loss for one, more for the other."""
VARIATION_GOAL = 0.03
ALONE = """
took = []
for _ in range(4):
    began = time.perf_counter()
    once(*given)
    took.append(time.perf_counter() - began)
print(json.dumps(took[1:]))
"""
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
    runs, alone, applies, samples = list[list[Account]](), [], [], list[Sample]()
    before = _processor_times()
    for run in range(RUNS):
        with use_case(f"seed={SEED}", f"links.wifi.loss={LOSS['wifi']:.0%}") as asked:
            answered = asked.ask(1 + QUESTIONS)[1:]
            samples += _sampled(asked)
            text = answered[0][0].answer
            alone.append(_alone(asked, text))
        runs.append([accounts.account(query, there, DELAYS_S) for query, there in answered])
        applies.append(asked.apply_s)
        print(_told(run, runs[-1], alone[-1]), file=sys.stderr, flush=True)
    stolen = _stolen(before, _processor_times())
    return [
        variation(runs, alone, f"{stolen:.1%} of the processors' time went to other guests"),
        *_pattern(samples),
        own([one for each in runs for one in each], "links as written"),
        Row(
            name="use case 1: apply until all modules are ready, all built", unit="s",
            better="lower", ours=statistics.median(applies), peers={}, limit=None, goal=None,
            n=RUNS,
        ),
    ]  # fmt: skip


def variation(runs: Sequence[Sequence[Account]], alone: Sequence[float], more: str) -> Row:
    """How much the median latency differs from run to run, and what of that is the machine's.

    Args:
        runs: What was measured of each.
        alone: Seconds that the models alone took, in each.
        more: For the note.
    """
    medians = [statistics.median(one.total_s for one in each) for each in runs]
    models = [statistics.median(one.computing_s for one in each) for each in runs]
    rest = [statistics.median(one.total_s - one.computing_s for one in each) for each in runs]
    within = [_varied([one.total_s for one in each]) for each in runs]
    return Row(
        name=f"use case 1 in {len(runs)} runs: variation of the median latency", unit="1",
        better="lower", ours=_varied(medians), peers={"of the models in them": _varied(models)},
        limit=_varied(alone), goal=VARIATION_GOAL, n=len(runs),
        note=f"{min(medians):.3f} to {max(medians):.3f} s, {len(runs[0])} questions a run, which "
        f"vary by {statistics.median(within):.1%} within one; all but models {1000 * min(rest):.1f}"
        f" to {1000 * max(rest):.1f} ms; models without OTTER {min(alone):.3f} to {max(alone):.3f}"
        f" s; {more}",
    )  # fmt: skip


def _varied(values: Sequence[float]) -> float:
    """The coefficient of variation."""
    return statistics.stdev(values) / statistics.mean(values) if len(values) > 1 else 0.0


def _alone(asked: UseCase, answer: str) -> float:
    """Seconds of the models, one after the other, without OTTER: the sum of their medians."""
    given: dict[str, tuple[Path | str, ...]] = {
        EAR: (QUESTION,), EYE: (PICTURE, "What animal is it?"), MOUTH: (answer,),
    }  # fmt: skip
    return sum(
        statistics.median(bare.run(asked, module, ALONE, *what)) for module, what in given.items()
    )


def _told(run: int, found: Sequence[Account], alone_s: float) -> str:
    total_s, models_s = (
        statistics.median(getattr(one, name) for one in found)
        for name in ("total_s", "computing_s")
    )
    return (
        f"  run {run + 1} of {RUNS}: {total_s:.3f} s, {models_s:.3f} s of them models, which "
        f"took {alone_s:.3f} s without OTTER"
    )


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
