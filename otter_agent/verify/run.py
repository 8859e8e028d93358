"""What the prober does with its job: a few directions at a time, then hosts one by one."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from net.links.spec import LinkSpec
from net.links.verify import intervals, schedule
from net.links.verify.judge import (
    Finding,
    Judge,
    Measured,
    confirmed,
    send_rate,
    worth_repeating,
)
from net.links.verify.records import Probes
from net.links.verify.schedule import EFFORTS, Kind, Train
from net.links.verify.tolerances import TOLERANCES, Tolerance
from otter_agent import api
from otter_agent.verify import computing, paths
from otter_agent.verify.engine import ClockStepError, measure
from otter_agent.verify.jobs import DirectionJob, Job
from otter_agent.verify.paths import Path
from otter_agent.verify.rows import row

AT_ONCE = 8
"""Directions that are probed at the same time."""
TOGETHER_BPS = 150e6
"""Sum of the rates that are tried out at the same time; a single link may have more."""
_BENEATH = 200


@dataclass(slots=True)
class _Progress:
    done: int
    total: int

    def line(self, doing: str, rows: Sequence[api.VerifyRow] = ()) -> api.VerifyLine:
        return api.VerifyLine(done=self.done, total=self.total, doing=doing, rows=tuple(rows))


def run(job: Job) -> Iterator[api.VerifyLine]:
    """Measure everything; lines as they come.

    Raises:
        OSError: A namespace or device isn't there any more.
    """
    progress = _Progress(0, len(job.directions) + len(job.hosts))
    judge = Judge(_tolerances(job.tolerances), job.seed)
    for start in range(0, len(job.directions), AT_ONCE):
        yield from _group(job, judge, job.directions[start : start + AT_ONCE], progress)
    for host in job.hosts:
        yield progress.line(f"computing of {host.name}")
        rows = computing.rows(host, judge, job.effort)
        progress.done += 1
        yield progress.line("", rows)


def _tolerances(given: Mapping[str, api.VerifyTolerance]) -> dict[str, Tolerance]:
    named = {name: Tolerance(one.absolute, one.relative) for name, one in given.items()}
    return {**TOLERANCES, **named}


def _group(
    job: Job, judge: Judge, group: Sequence[DirectionJob], progress: _Progress
) -> Iterator[api.VerifyLine]:
    """Some directions at the same time; those that seem wrong once more."""
    with contextlib.ExitStack() as stack:
        opened = {one: stack.enter_context(paths.opened(one)) for one in group}
        prober = _Prober(job, judge, _beneath_s(group[0], job.seed))
        for doing in prober.probe(opened, again=0):
            yield progress.line(doing)
        doubtful = {one: path for one, path in opened.items() if worth_repeating(prober.found[one])}
        if doubtful:
            first = dict(prober.found)
            for doing in prober.probe(doubtful, again=1):
                yield progress.line(f"{doing}, again")
            for one in doubtful:
                prober.found[one] = confirmed(first[one], prober.found[one])
    progress.done += len(group)
    rows = [row(one.link, one.from_, one.to, f) for one in group for f in prober.found[one]]
    yield progress.line("", rows)


class _Prober:
    """Sends the trains of some directions, kind after kind.

    Attributes:
        found: What the last measurement of each direction says.
    """

    def __init__(self, job: Job, judge: Judge, beneath_s: float) -> None:
        self._job, self._judge, self._beneath_s = job, judge, beneath_s
        self.found: dict[DirectionJob, list[Finding]] = {}

    def probe(self, opened: Mapping[DirectionJob, Path], again: int) -> Iterator[str]:
        """Measure directions; says what it does."""
        kinds: tuple[Kind, ...] = ("base", "many", "rate")
        trains: dict[DirectionJob, dict[Kind, Probes]] = {one: {} for one in opened}
        names = ", ".join(f"{one.link}:{one.from_}>{one.to}" for one in list(opened)[:3])
        for kind in kinds:
            planned = self._planned(kind, list(opened), again)
            for together in batches(planned):
                yield f"{kind} of {names}"
                pairs = [(opened[one], train) for one, train in together]
                for (one, _), probes in zip(together, _measured(pairs), strict=True):
                    trains[one][kind] = probes
        for one in opened:
            got = trains[one]
            speed = send_rate(got["rate"]) if "rate" in got else float("inf")
            measured = Measured(got, self._beneath_s, speed)
            self.found[one] = self._judge.findings(one.asked, measured)

    def _planned(
        self, kind: Kind, directions: Sequence[DirectionJob], again: int
    ) -> list[tuple[DirectionJob, Train]]:
        effort = EFFORTS[self._job.effort]
        if again:  # twice as many, so that what is right is told to be right
            effort = replace(effort, base_s=2 * effort.base_s, many_s=2 * effort.many_s,
                             many=2 * effort.many)  # fmt: skip
        planned = []
        for number, one in enumerate(directions):
            asked, seed = one.asked, self._job.seed + 1000 * again + number
            train = _train(kind, asked, effort, seed)
            if train is not None:
                planned.append((one, train))
        return planned


def _train(kind: Kind, asked: LinkSpec, effort: schedule.Effort, seed: int) -> Train | None:
    if kind == "base":
        return schedule.base(asked, effort, seed)
    if kind == "many":
        return schedule.many(asked, effort, seed)
    return None if asked.up is False else schedule.rate(asked, effort)


def batches(
    planned: Sequence[tuple[DirectionJob, Train]],
) -> Iterator[list[tuple[DirectionJob, Train]]]:
    """What may be sent at the same time: as much as this machine surely carries.

    Of those that share a medium one at a time, or each would measure its share.
    """
    left = list(planned)
    while left:
        group: list[tuple[DirectionJob, Train]] = []
        later: list[tuple[DirectionJob, Train]] = []
        media: set[str] = set()
        load = 0.0
        for one, train in left:
            asks = train.bytes * 8 / max(float(train.at_s[-1]), 1e-3)
            medium = one.asked.medium
            if group and (load + asks > TOGETHER_BPS or medium in media):
                later.append((one, train))
                continue
            group.append((one, train))
            media |= set() if medium is None else {medium}
            load += asks
        yield group
        left = later


def _measured(pairs: Sequence[tuple[Path, Train]]) -> list[Probes]:
    try:
        return measure(pairs)
    except ClockStepError as error:
        raise OSError(0, "the machine's clock is being set; try again") from error


def _beneath_s(job: DirectionJob, seed: int) -> float:
    """Median of the same way with no link on it."""
    times = np.random.default_rng(seed).uniform(0.5, 1.5, _BENEATH).cumsum() * 0.001
    payloads = np.full(_BENEATH, schedule.SMALLEST_BYTES)
    with paths.beneath(job) as path:
        [probes] = _measured([(path, Train("base", times, payloads, 0.2))])
    found = intervals.median(probes.delays())
    return found.value if found is not None else 0.0
