"""On a machine: boots the guest kernel once, has it run the selected tests, reports their results.

So `pytest tests/kernel -k NAME` works like any other tier, and its tests count in the one closing
line. Inside the guest (OTTER_GUEST is set) tests run as usual, and their reports are also written
to the file that OTTER_GUEST_REPORTS names, one JSON document per line.

`test_launcher.py` tests the guest from outside and stays on the machine.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

HERE = Path(__file__).parent
IN_GUEST = "OTTER_GUEST" in os.environ
REPORTS = os.environ.get("OTTER_GUEST_REPORTS")
ON_THE_MACHINE = {"test_launcher.py"}
LIMIT_S = 1800
CANNOT_BOOT = 125

# What the guest said of each test: its reports by node id.
results = pytest.StashKey[dict[str, list[pytest.TestReport]]]()
# Why it said nothing of others, and whether that is because there is no guest at all.
trouble = pytest.StashKey[str]()
no_guest = pytest.StashKey[bool]()


def is_here(item: pytest.Item) -> bool:
    return item.path.is_relative_to(HERE)


def goes_to_guest(item: pytest.Item) -> bool:
    return not IN_GUEST and is_here(item) and item.path.name not in ON_THE_MACHINE


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks all tests of this folder, before `-m` selects.

    Those of the machine come last: what pytest set up for one of them it takes down before the
    next test that it runs itself, and a replayed one would come between.
    """
    places = [place for place, item in enumerate(items) if is_here(item)]
    ours = sorted((items[place] for place in places), key=lambda item: not goes_to_guest(item))
    for place, item in zip(places, ours, strict=True):
        items[place] = item
    for item in ours:
        item.add_marker(pytest.mark.kernel)
        if goes_to_guest(item):
            # The first of them waits for the run of all.
            item.add_marker(pytest.mark.timeout(LIMIT_S + 60), append=False)


def pytest_runtest_protocol(item: pytest.Item) -> bool | None:
    """Replays what the guest reported instead of running the test here."""
    if not goes_to_guest(item):
        return None
    session = item.session
    if results not in session.stash:
        run_in_guest(session)
    item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
    reports = session.stash[results].get(item.nodeid, [])
    if not reports or reports[-1].when != "teardown":
        reports.append(not_finished(item))
    for report in reports:
        item.ihook.pytest_runtest_logreport(report=report)
    item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
    return True


def run_in_guest(session: pytest.Session) -> None:
    """One boot, one pytest run inside for all tests of this folder that were selected."""
    session.stash[results] = {}
    chosen = [item.nodeid for item in session.items if goes_to_guest(item)]
    root = session.config.rootpath
    with tempfile.TemporaryDirectory(prefix="otter-kernel-") as folder:
        names, reports = Path(folder, "tests"), Path(folder, "reports")
        names.write_text("\n".join(chosen) + "\n")
        inside = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", f"@{names}"]
        launcher = [
            sys.executable, "-m", "tests.kernel.guest", "--limit", str(LIMIT_S),
            "--share", folder, "--env", f"OTTER_GUEST_REPORTS={reports}", "--", *inside,
        ]  # fmt: skip
        done = subprocess.run(
            launcher, cwd=root, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True, errors="replace", check=False,
        )  # fmt: skip
        lines = reports.read_text().splitlines() if reports.exists() else []
    said = done.stdout.strip()
    session.stash[no_guest] = done.returncode == CANNOT_BOOT and not lines
    session.stash[trouble] = said if session.stash[no_guest] else f"the guest ended early:\n{said}"
    for line in lines:
        report = session.config.hook.pytest_report_from_serializable(
            config=session.config, data=json.loads(line)
        )
        if isinstance(report.longrepr, list):  # where it was skipped: JSON knows no tuples
            report.longrepr = tuple(report.longrepr)
        session.stash[results].setdefault(report.nodeid, []).append(report)


def not_finished(item: pytest.Item) -> pytest.TestReport:
    """The report of a test of which the guest said nothing, or not the end."""
    why = item.session.stash[trouble]
    required = "kernel" in os.environ.get("OTTER_REQUIRE", "").split(",")
    skip = item.session.stash[no_guest] and not required
    path, line = item.path.relative_to(item.config.rootpath), (item.location[1] or 0) + 1
    return pytest.TestReport(
        nodeid=item.nodeid,
        location=item.location,
        keywords={},
        outcome="skipped" if skip else "failed",
        longrepr=(str(path), line, f"no kernel: {why.splitlines()[0]}") if skip else why,
        when="setup",
    )


class Reporter:
    """Inside the guest: writes every report where the machine reads it."""

    def __init__(self, config: pytest.Config, path: str) -> None:
        self.config = config
        self.path = path

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        hook = self.config.hook.pytest_report_to_serializable
        with open(self.path, "a") as file:
            file.write(json.dumps(hook(config=self.config, report=report)) + "\n")


def pytest_configure(config: pytest.Config) -> None:
    """Starts the reporting, in the guest."""
    if REPORTS:
        config.pluginmanager.register(Reporter(config, REPORTS), "guest-reporter")
