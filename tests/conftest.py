"""Fixtures shared by all tiers, and the rule that a required tier may not skip."""

from __future__ import annotations

import os
import signal
from collections import Counter

import hypothesis
import pytest

pytest_plugins = [
    "helpers.elsewhere", "helpers.environment", "helpers.garbage", "helpers.scheduling",
    "helpers.split", "helpers.fixtures_docker", "helpers.fixtures_otter",
]  # fmt: skip


def pytest_configure() -> None:
    """Let what tests find not depend on how they are started, nor on what else the machine does.

    A shell has SIGINT ignored in its background (`nohup` SIGHUP), which all inherit that tests
    start: Ctrl-C never came. Hypothesis gives each example 200 ms of wall-clock time, which is no
    property of ours. `make test-unit` has it try fewer examples (`--hypothesis-profile`) than
    `make test`.
    """
    ours = hypothesis.settings(deadline=None)
    hypothesis.settings.register_profile("otter", ours)
    hypothesis.settings.register_profile("quick", ours, max_examples=20)
    hypothesis.settings.load_profile("otter")
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
        signal.signal(signal.SIGHUP, signal.SIG_DFL)


@pytest.fixture(scope="session")
def require():
    """`require("docker", condition, why)`: skip unless OTTER_REQUIRE names it, then fail."""
    required = set(filter(None, os.environ.get("OTTER_REQUIRE", "").split(",")))

    def check(tier: str, available: bool, why: str) -> None:
        if available:
            return
        if tier in required:
            pytest.fail(f"{tier} is required (OTTER_REQUIRE) but {why}", pytrace=False)
        pytest.skip(f"no {tier}: {why}")

    return check


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """With `--durations`, what the tests of each file took together, as it tells of single ones."""
    if not config.option.durations:
        return
    took = Counter[str]()
    for report in (one for some in terminalreporter.stats.values() for one in some):
        if isinstance(report, pytest.TestReport):
            took[report.nodeid.partition("::")[0]] += report.duration
    terminalreporter.write_sep("=", "time by file")
    for file, seconds in took.most_common(config.option.durations):
        terminalreporter.write_line(f"{seconds:.2f}s {file}")
