"""The driver `tun` does what it is asked, no less and no more: measured with the machine to itself.

Neither `untimed` nor `aside`: nothing runs beside it.
"""

from __future__ import annotations

import pytest
from helpers import as_asked
from helpers.otter import Otter

from otter_agent.links.netem import NetemDriver

pytestmark = [pytest.mark.timed, pytest.mark.netns]


def test_links_and_computing_are_what_was_asked_for_from_both_sides(otter: Otter) -> None:
    driver = "netem" if NetemDriver().probe().usable else "tun"
    as_asked.check(otter, driver, computing=True)
    assert [path for path in otter.leftovers() if "otter.verify" in path] == []
