"""The driver `tun` keeps to what every link driver keeps to; `netem` does in the guest kernel."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from helpers import netns
from helpers.link_bench import Bench

pytest.register_assert_rewrite("helpers.link_contract", "helpers.link_media")
pytest.register_assert_rewrite("helpers.link_packets", "helpers.link_planning")

from helpers.link_contract import LinkSettings  # noqa: E402 - its asserts are to explain themselves
from helpers.link_media import LinkMedia  # noqa: E402
from helpers.link_packets import LinkPackets  # noqa: E402
from helpers.link_planning import LinkPlanning  # noqa: E402

from otter_agent.links.tun.driver import TunDriver  # noqa: E402


@pytest.fixture
def bench(require, tmp_path) -> Iterator[Bench]:
    require("netns", not netns.unavailable(), netns.unavailable())
    driver = TunDriver(tmp_path / "links")
    require("netns", driver.probe().usable, driver.probe().detail)
    with Bench(driver) as made:
        yield made
    driver.end()


class TestSettings(LinkSettings):
    """Settings."""


class TestPackets(LinkPackets):
    """Packets."""


class TestMedia(LinkMedia):
    """Media that links share."""


class TestPlanning(LinkPlanning):
    """Changes that are to come."""
