"""The driver `netem` does what it is asked, no less and no more."""

from __future__ import annotations

import pytest
from helpers import as_asked
from helpers.otter import Otter

pytestmark = [pytest.mark.kernel, pytest.mark.netns]


def test_links_are_what_was_asked_for_from_both_sides(otter: Otter) -> None:
    as_asked.check(otter, "netem", computing=False)
