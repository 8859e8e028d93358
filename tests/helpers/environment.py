"""A pytest plugin: a test leaves the variables by which OTTER and other programs find their files.

One that stays, as an option of a verb run in this process once did, names a file that is gone to
all that is started from then on, in tests that have nothing to do with it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

OURS = ("OTTER_", "XDG_", "DOCKER_")
OTHERS = {"HOME", "PATH", "TMPDIR"}
before = pytest.StashKey[dict[str, str]]()


def standing() -> dict[str, str]:
    """The variables that are looked at."""
    return {
        name: value for name, value in os.environ.items() if name.startswith(OURS) or name in OTHERS
    }


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Before any fixture of its own."""
    item.stash[before] = standing()


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_teardown(item: pytest.Item) -> Iterator[None]:
    """After its fixtures. A test that has changed them has failed, and they are put back."""
    try:
        return (yield)
    except (KeyboardInterrupt, pytest.exit.Exception):  # whose fixtures may be up
        put_back(item.stash[before])
        raise
    finally:
        if changed := put_back(item.stash[before]):
            raise AssertionError(f"this process's environment has changed: {', '.join(changed)}")


def put_back(kept: dict[str, str]) -> list[str]:
    """Names of the variables that were changed since."""
    changed = sorted({name for name, _ in kept.items() ^ standing().items()})
    for name in changed:
        os.environ.pop(name, None)
    os.environ.update(kept)
    return changed
