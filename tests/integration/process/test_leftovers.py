"""What a test that failed leaves: nothing that runs."""

from __future__ import annotations

import os
import subprocess

from helpers.otter import DEADLINE_S, Otter


def test_whatever_works_in_a_root_ends_with_it():
    otter = Otter()
    env = {**os.environ, "CUDA_MPS_PIPE_DIRECTORY": str(otter.root / "a" / "run" / "mps" / "pipe")}
    with subprocess.Popen(["sleep", "1000"], env=env) as daemon:
        otter.close()
        assert daemon.wait(DEADLINE_S) < 0
    assert not otter.root.exists()
