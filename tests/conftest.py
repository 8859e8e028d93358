"""Fixtures shared by all tiers, and the rule that a required tier may not skip."""

from __future__ import annotations

import os
import signal

import pytest

pytest_plugins = ["helpers.fixtures_docker", "helpers.fixtures_otter"]


def pytest_configure() -> None:
    """Let what tests start be ended by Ctrl-C, also where the tests run in a shell's background.

    There a shell has SIGINT ignored, which all that is started from there inherits.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


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
