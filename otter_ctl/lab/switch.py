"""The process that is a lab's switch: it holds a network namespace, and ends when it is killed.

python -m otter_ctl.lab.switch FOLDER
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

from otter_ctl.lab import cgroups, linux, network, processes


def main(folder: Path) -> None:
    """Note itself, make the bridges, say so, stay."""
    processes.note_own_pid(folder)
    cgroups.enter(os.environ["OTTER_LAB_GROUP"] + "/switch")
    linux.unshare(linux.CLONE_NEWNET)
    network.make_bridges()
    sys.stdout.write(processes.READY.decode())
    sys.stdout.flush()
    if not sys.stdin.readline():
        return
    processes.release_lock()
    while True:
        signal.pause()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
