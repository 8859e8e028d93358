"""Streams keep what they promise where nothing could be compiled, too: their tests, again.

Twelve seconds, because many machines and images have `net.plain` alone, and this one doesn't.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from net.short import COMPILED

HERE = Path(__file__).parent
AGAIN = ("test_streams.py", "test_stream_faults.py", "test_delivery.py")


@pytest.mark.skipif(not COMPILED, reason="nothing is compiled here: they run so anyway")
@pytest.mark.timeout(300)
def test_streams_without_a_compiler():
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    done = subprocess.run(
        [*command, *(str(HERE / name) for name in AGAIN)],
        env={**os.environ, "OTTER_PURE": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-5000:]


def test_python_alone_can_be_asked_for():
    show = "from net.short import COMPILED; print(COMPILED)"
    environment = {**os.environ, "OTTER_PURE": "1"}
    done = subprocess.run(
        [sys.executable, "-c", show], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "False"
