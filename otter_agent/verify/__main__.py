"""The prober: `python -m otter_agent.verify MESH FOLDER`; a `Job` on stdin, lines on stdout.

A process of its own: nothing else runs between a packet and its time, and probing never holds up
the agent. It ends when its stdin ends, so it outlives nobody. MESH and the agent's FOLDER are for
whoever lists processes.
"""

from __future__ import annotations

import contextlib
import gc
import os
import sys
import threading

from otter_agent import api
from otter_agent.verify.jobs import Job
from otter_agent.verify.run import run

_PRIORITY = -10
_CANNOT = 1


def main() -> int:
    """Do the job, say what comes of it."""
    job = api.decode(sys.stdin.buffer.readline(), Job)
    threading.Thread(target=_end_with_stdin, daemon=True).start()
    with contextlib.suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, 0, _PRIORITY)
    gc.freeze()
    gc.disable()
    try:
        for line in run(job):
            _say(line)
    except OSError as error:
        why = f"verify: can't probe: {error.strerror or error}"
        hint = "are all hosts up? see `otterctl status`"
        problem = api.Problem(code="failed", message=why, hint=hint)
        _say(api.VerifyLine(problem=problem))
        return _CANNOT
    return 0


def _say(line: api.VerifyLine) -> None:
    sys.stdout.buffer.write(api.encode(line) + b"\n")
    sys.stdout.buffer.flush()


def _end_with_stdin() -> None:
    while os.read(0, 1):  # `sys.stdin` has a lock; held at the end, that is fatal to Python
        pass
    os._exit(_CANNOT)  # whoever asked has gone


if __name__ == "__main__":
    sys.exit(main())
