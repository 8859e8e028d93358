"""No test leaves the process that runs all of them before others."""

from __future__ import annotations

import os
from types import SimpleNamespace

import pytest
from helpers.scheduling import (
    looked_at,
    pytest_runtest_setup,
    pytest_runtest_teardown,
    standing,
    unchanged,
)


def test_a_change_of_scheduling_fails_and_is_undone():
    before = standing()
    with pytest.raises(AssertionError, match=r"policy: \d+ to 3"), unchanged():
        os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))  # any user may, and back
    assert standing() == before


def test_every_test_is_looked_at(request):
    assert looked_at in request.node.stash


@pytest.mark.parametrize("interrupt", [KeyboardInterrupt, pytest.exit.Exception])
def test_an_interrupt_is_told_of_rather_than_what_its_test_has_changed(interrupt):
    before = standing()
    item = SimpleNamespace(stash=pytest.Stash())
    pytest_runtest_setup(item)
    os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
    teardown = pytest_runtest_teardown(item)
    next(teardown)
    with pytest.raises(interrupt):
        teardown.throw(interrupt())
    assert standing() == before
