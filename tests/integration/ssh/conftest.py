"""Machines behind real sshd: `pair`, two of them, one for all tests of a file."""

from __future__ import annotations

import os
import shutil

import pytest
from helpers.machines import SSHD, machines


@pytest.fixture(scope="module")
def pair(require):
    """Two machines with agents; whatever a test breaks of them it mends."""
    require("netns", os.geteuid() == 0 and shutil.which("ip"), "not root")
    require("ssh", SSHD, "no sshd (.ci/debian tests)")
    with machines(2) as world:
        yield world
