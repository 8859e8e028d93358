"""Tests of this folder run in the guest kernel: helpers/elsewhere.py has them do so.

`test_launcher.py` and `test_beside.py` test that from outside and stay on the machine. Inside the
guest (OTTER_GUEST is set) tests run as usual.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from helpers.beside import CANNOT_BOOT

HERE = Path(__file__).parent


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks all tests of this folder, before `-m` selects."""
    for item in items:
        if item.path.is_relative_to(HERE):
            item.add_marker(pytest.mark.kernel)


@pytest.fixture(scope="session")
def boots(require: Callable[[str, bool, str], None]) -> None:
    """Skips, or fails where OTTER_REQUIRE names kernel, when no guest boots here."""
    command = [sys.executable, "-m", "tests.kernel.guest", "--", "true"]
    done = subprocess.run(command, cwd=HERE.parents[1], capture_output=True, text=True, check=False)
    said = done.stderr.strip()
    require("kernel", done.returncode != CANNOT_BOOT, said)
    assert (done.returncode, said) == (0, "")
