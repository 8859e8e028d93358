"""Fixtures shared by all tiers, and the rule that a required tier may not skip."""

from __future__ import annotations

import os

import pytest

pytest_plugins = ["helpers.fixtures_docker", "helpers.fixtures_otter"]


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
