"""`make demo` that is interrupted: no traceback, and no mesh is left."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.otter import wait_for

ROOT = Path(__file__).parents[2]
pytestmark = [pytest.mark.wide, pytest.mark.netns, pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_demo_leaves_nothing(shared_otter, how):
    """In the middle of its apply: Ctrl-C, or what `kill` and a service manager send."""
    with subprocess.Popen(
        [sys.executable, "-m", "examples.demo"], cwd=ROOT, env=shared_otter.env, text=True,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    ) as demo:  # fmt: skip
        wait_for(lambda: shared_otter.json("ls") != [], "it never applied anything", 240)
        demo.send_signal(how)
        said, errors = demo.communicate(timeout=120)
    assert demo.returncode == 130, said
    assert "demo: interrupted" in said
    assert "Traceback" not in errors
    assert shared_otter.json("ls") == []
