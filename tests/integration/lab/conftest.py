from __future__ import annotations

import pytest
from helpers import labs

from otter_ctl.lab.lab import Lab


@pytest.fixture
def lab(require):
    """A lab that isn't up; nothing of it is left afterwards."""
    why = labs.unavailable()
    require("netns", not why, why)
    with labs.new_folder() as folder:
        one = Lab(folder)
        yield one
        memory = None if not (folder / "lab.json").exists() else one.folder.read()
        one.down()
        assert labs.leftovers(folder, memory.id if memory else "none") == []


@pytest.fixture(scope="module")
def pair(require):
    """Two machines with agents, without engines, for tests that leave them as they are."""
    why = labs.unavailable()
    require("netns", not why, why)
    with labs.new_folder() as folder:
        one = Lab(folder)
        one.up(2, docker=False, layers=labs.layers())
        yield one
