"""A pytest plugin: a test leaves this process as it was in the eyes of the kernel's scheduler.

One that is left before all others (SCHED_FIFO), nicer, or on fewer processors, and all that it
starts from then on, would judge time wrongly, in tests that have nothing to do with it.
"""

from __future__ import annotations

import contextlib
import os
import resource
import signal
from collections.abc import Iterator
from typing import Any

import pytest

looked_at = pytest.StashKey[contextlib.AbstractContextManager[None]]()


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Hooks, no fixture: that would be a tenth of the time of thousands of small tests."""
    item.stash[looked_at] = unchanged()
    item.stash[looked_at].__enter__()


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_teardown(item: pytest.Item) -> Iterator[None]:
    """A test that has changed it has failed, though all its fixtures are down."""
    try:
        told = yield
    except (KeyboardInterrupt, pytest.exit.Exception):  # says more than what its test has changed
        with contextlib.suppress(AssertionError):
            item.stash[looked_at].__exit__(None, None, None)
        raise
    except BaseException:
        item.stash[looked_at].__exit__(None, None, None)
        raise
    item.stash[looked_at].__exit__(None, None, None)
    return told


def standing() -> dict[str, Any]:
    """Of the thread that asks."""
    return {
        "policy": os.sched_getscheduler(0),
        "priority": os.sched_getparam(0).sched_priority,
        "niceness": os.getpriority(os.PRIO_PROCESS, 0),
        "processors": os.sched_getaffinity(0),
    }


@contextlib.contextmanager
def unchanged() -> Iterator[None]:
    """Fails if the block has changed it, and puts it back, as far as this user may."""
    before = standing()
    yield
    if (after := standing()) == before:
        return
    with contextlib.suppress(PermissionError):
        os.sched_setaffinity(0, before["processors"])
        os.sched_setscheduler(0, before["policy"], os.sched_param(before["priority"]))
        os.setpriority(os.PRIO_PROCESS, 0, before["niceness"])
    told = [
        f"{name}: {before[name]} to {now}" for name, now in after.items() if before[name] != now
    ]
    raise AssertionError(f"this process is scheduled in another way than before: {', '.join(told)}")


@contextlib.contextmanager
def as_before() -> Iterator[None]:
    """Puts back what a `Guard` changes: the block has a process that runs before others."""
    nice, policy = os.getpriority(os.PRIO_PROCESS, 0), os.sched_getscheduler(0)
    param, limits = os.sched_getparam(0), resource.getrlimit(resource.RLIMIT_RTTIME)
    handler = signal.getsignal(signal.SIGXCPU)
    yield
    os.sched_setscheduler(0, policy, param)
    os.setpriority(os.PRIO_PROCESS, 0, nice)
    resource.setrlimit(resource.RLIMIT_RTTIME, limits)
    signal.signal(signal.SIGXCPU, handler)
