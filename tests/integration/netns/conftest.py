"""All tests here need root and network namespaces."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from helpers import netns

from otter_agent.network import Network


@pytest.fixture(autouse=True)
def _netns(require) -> None:
    why = netns.unavailable()
    require("netns", not why, why)


@pytest.fixture
def network() -> Iterator[Network]:
    with netns.network() as made:
        yield made
        agent = made
    assert netns.names(agent) == set()
