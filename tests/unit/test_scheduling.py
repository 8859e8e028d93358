"""No test leaves the process that runs all of them before others."""

from __future__ import annotations

import os

import pytest
from helpers.scheduling import looked_at, standing, unchanged


def test_a_change_of_scheduling_fails_and_is_undone():
    before = standing()
    with pytest.raises(AssertionError, match=r"policy: \d+ to 3"), unchanged():
        os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))  # any user may, and back
    assert standing() == before


def test_every_test_is_looked_at(request):
    assert looked_at in request.node.stash
