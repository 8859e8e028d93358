"""A pytest plugin: tests that run in other processes, and are told of as if they ran here.

Those of tests/kernel run in the guest kernel, all of them in one boot: `pytest tests/kernel
-k NAME` works like any other tier, and its tests count in the one closing line.

With `--beside`, as in a whole run, a session has this order:

    untimed   what judges no time and starts nothing that outlives it: tests/unit, tests/fuzz and
              what is marked so; here, on all processors but the last
    guest     meanwhile, on the last one: the guest kernel's tests, which take minutes
    aside     after those: tests/e2e, tests/integration and what is marked so; once there is
              nothing untimed left, also on the other processors, a pytest on each. The tests of a
              folder share one, those that need an engine another, as what they build is kept;
              one with a test that is `wide` has all processors
    alone     the guest kernel's tests that are `timed`, in a boot of their own: the guest shares
              its processor with what runs beside it
    timed     all else, and what is marked so, as it judges time or looks at what a machine has one
              of: afterwards, with the machine to itself

A process elsewhere writes each report as a line of JSON (OTTER_TEST_REPORTS), which is told here.
"""

from __future__ import annotations

import json
import os
from functools import cache
from pathlib import Path
from typing import Literal

import pytest
from helpers import beside
from helpers.beside import KEPT, LIMIT_S, REPORTS, Job, Lanes

TESTS = Path(__file__).parents[1]
KERNEL = TESTS / "kernel"
UNTIMED = (TESTS / "unit", TESTS / "fuzz")
BESIDE = (TESTS / "e2e", TESTS / "integration")
ON_THE_MACHINE = {"test_beside.py", "test_launcher.py"}
IN_GUEST = "OTTER_GUEST" in os.environ
UNTIMED_, GUEST, ASIDE, ALONE, TIMED = range(5)
OF_GUESTS = (GUEST, ALONE)

lanes = pytest.StashKey[Lanes]()
# Processors of this process: while lanes run, and otherwise.
here = pytest.StashKey[set[int]]()
all_of_them = pytest.StashKey[set[int]]()
# Of each test its job, and what came from there: its reports by node id.
job_of = pytest.StashKey[dict[str, Job]]()
told = pytest.StashKey[dict[str, list[pytest.TestReport]]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--beside`."""
    parser.addoption(
        "--beside", action="store_true",
        help="run tests that judge no time first, and beside the guest kernel's",
    )  # fmt: skip


def pytest_configure(config: pytest.Config) -> None:
    """Starts the reporting, elsewhere."""
    if path := os.environ.pop(REPORTS, ""):
        config.pluginmanager.register(Reporter(config, path), "otter-reporter")


@cache
def below(path: Path, *folders: Path) -> bool:
    """Remembered: it is asked five times for each of thousands of tests."""
    return any(map(path.is_relative_to, folders))


def place(item: pytest.Item) -> int:
    """Where a test belongs in a session."""
    if below(item.path, KERNEL) and not IN_GUEST:
        if item.path.name in ON_THE_MACHINE:
            return TIMED
        return ALONE if "timed" in item.keywords else GUEST
    if "timed" in item.keywords:
        return TIMED
    if below(item.path, *UNTIMED) or "untimed" in item.keywords:
        return UNTIMED_
    aside = {"aside", "wide"} & set(item.keywords) or below(item.path, *BESIDE)
    return ASIDE if aside else TIMED


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """The order, and time for the first test of elsewhere to wait for all of them.

    Without `--beside` it is changed in tests/kernel alone: what pytest set up for a test it takes
    down before the next one that it runs itself, and one that is only told of would come between.
    """
    whole = config.option.beside
    several = len(os.sched_getaffinity(0)) > 1
    places = [at for at, item in enumerate(items) if below(item.path, KERNEL) or whole]
    ordered = sorted((items[at] for at in places), key=place)
    for at, item in zip(places, ordered, strict=True):
        items[at] = item
        if place(item) in OF_GUESTS or (whole and several and place(item) == ASIDE):
            item.add_marker(pytest.mark.timeout(3 * LIMIT_S), append=False)


def pytest_runtest_protocol(item: pytest.Item) -> bool | None:
    """Tells what was reported elsewhere instead of running the test here."""
    session = item.session
    if item is session.items[0] and session.config.option.beside:
        begin(session)
    if place(item) not in OF_GUESTS and not (place(item) == ASIDE and here in session.stash):
        return None
    if told not in session.stash:
        collect(session)
    item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
    reports = session.stash[told].get(item.nodeid, [])
    if not reports or reports[-1].when != "teardown":
        reports.append(not_finished(item))
    for report in reports:
        item.ihook.pytest_runtest_logreport(report=report)
    item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
    return True


def begin(session: pytest.Session) -> None:
    """Opens a lane, where there is a processor for it and none that judges time comes before."""
    places = [place(item) for item in session.items]
    processors = os.sched_getaffinity(0)
    if len(processors) < 2 or places != sorted(places):  # sorted anew by an option of pytest's
        return
    if not {GUEST, ASIDE} & {*places}:  # nobody would give this process its processors back
        return
    make_jobs(session, GUEST, ASIDE)
    os.environ[KEPT] = str(session.stash[lanes].kept)
    session.stash[lanes].open([max(processors)])
    session.stash[all_of_them] = processors
    session.stash[here] = processors - {max(processors)}
    os.sched_setaffinity(0, session.stash[here])


def make_jobs(session: pytest.Session, *places: int) -> None:
    """A guest's, and two at most for each folder of others: files stay whole."""
    if lanes not in session.stash:
        session.stash[lanes], session.stash[job_of] = Lanes(), {}
    chosen = [item for item in session.items if place(item) in places]
    engines = {item.path for item in chosen if item.get_closest_marker("docker")}
    jobs: dict[tuple[str, Path, bool], list[pytest.Item]] = {}
    for item in chosen:
        key = (beside.GUEST, KERNEL, False)
        if place(item) == ASIDE:
            key = (beside.ASIDE, item.path.parent, item.path in engines)
        jobs.setdefault(key, []).append(item)
    for (kind, *_), items in jobs.items():
        names = [item.nodeid for item in items]
        wide = any("wide" in item.keywords for item in items)
        session.stash[lanes].add(kind, names, os.sched_getaffinity(0) if wide else ())
        session.stash[job_of].update(dict.fromkeys(names, session.stash[lanes].jobs[-1]))


def collect(session: pytest.Session) -> None:
    """Wait for what runs elsewhere, which this process makes room for, and take its reports."""
    if lanes not in session.stash:
        make_jobs(session, *OF_GUESTS)
    running = session.stash[lanes]
    running.open(sorted(session.stash.get(here, os.sched_getaffinity(0))))
    running.join()
    if all_of_them in session.stash:
        os.sched_setaffinity(0, session.stash[all_of_them])
        make_jobs(session, ALONE)
        running.open(sorted(session.stash[all_of_them]))
        running.join()
    session.stash[told] = {}
    for job in running.jobs:
        take(session, job)


def take(session: pytest.Session, job: Job) -> None:
    """A job's reports; a failure of which none of them tells is its last test's."""
    asked = dict.fromkeys(job.read("tests").splitlines(), False)  # whether it came to its end
    failed = False
    for line in job.read("reports").splitlines():
        try:
            data = json.loads(line)
        except ValueError:  # it was ended while it wrote that: so this test didn't come to its end
            continue
        report = session.config.hook.pytest_report_from_serializable(
            config=session.config, data=data
        )
        if isinstance(report.longrepr, list):  # where it was skipped: JSON knows no tuples
            report.longrepr = tuple(report.longrepr)
        if report.nodeid in asked:
            failed |= report.failed
            asked[report.nodeid] |= report.when == "teardown"
            session.stash[told].setdefault(report.nodeid, []).append(report)
    if all(asked.values()) and not failed and job.read("status") != "0":
        last = next(item for item in session.items if item.nodeid == [*asked][-1])
        session.stash[told][last.nodeid].append(not_finished(last, "teardown"))


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Nothing runs elsewhere any more, though it was interrupted, or ended by `-x`."""
    os.environ.pop(KEPT, None)
    if lanes in session.stash:
        session.stash[lanes].close()


def not_finished(
    item: pytest.Item, when: Literal["setup", "teardown"] = "setup"
) -> pytest.TestReport:
    """The report of a test of which nothing was told, or not the end; the first has the job's."""
    job = item.session.stash[job_of][item.nodeid]
    trouble = f"its pytest ended: see {job.told_of}" if job.told_of else job.trouble
    job.told_of = job.told_of or item.nodeid
    required = "kernel" in os.environ.get("OTTER_REQUIRE", "").split(",")
    skip = job.no_guest and not required
    path, line = item.path.relative_to(item.config.rootpath), (item.location[1] or 0) + 1
    why = f"no kernel: {job.trouble.splitlines()[0]}" if skip else ""
    return pytest.TestReport(
        nodeid=item.nodeid,
        location=item.location,
        keywords={},
        outcome="skipped" if skip else "failed",
        longrepr=(str(path), line, why) if skip else trouble,
        when=when,
    )


class Reporter:
    """Elsewhere: writes every report where the session that waits reads it."""

    def __init__(self, config: pytest.Config, path: str) -> None:
        self.config = config
        self.path = path

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        hook = self.config.hook.pytest_report_to_serializable
        with open(self.path, "a") as file:
            file.write(json.dumps(hook(config=self.config, report=report)) + "\n")
