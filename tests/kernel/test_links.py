"""The driver `netem` keeps to what every link driver keeps to, in a kernel that has it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers.link_bench import Bench

pytest.register_assert_rewrite(
    "helpers.link_contract", "helpers.link_packets", "helpers.link_media", "helpers.link_planning"
)

from helpers.link_contract import LinkSettings  # noqa: E402 - its asserts are to explain themselves
from helpers.link_media import LinkMedia  # noqa: E402
from helpers.link_packets import LinkPackets  # noqa: E402
from helpers.link_planning import LinkPlanning  # noqa: E402

from otter_agent.links.netem import NetemDriver  # noqa: E402


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    driver = NetemDriver(tmp_path / "links")
    with Bench(driver) as made:
        yield made
    driver.end()


class TestSettings(LinkSettings):
    """Settings."""


class TestPackets(LinkPackets):
    """Packets."""


class TestMedia(LinkMedia):
    """Media."""


class TestPlanning(LinkPlanning):
    """Changes that are to come."""
