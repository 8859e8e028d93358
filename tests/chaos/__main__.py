"""Fifty rounds of faults over three machines of a lab; needs root and an OpenSSH server.

    python -m tests.chaos [--rounds 50] [--seed N] [--log FILE]

Prints what happens as it does. The seed says what is done; how it goes depends on the moment, too.
Exit status 1: something wasn't as it must be, and the lab is gone all the same.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from helpers import labs
from helpers.lab_site import lab_of, site_of

from tests.chaos.rounds import Chaos


class Log:
    """Lines with the time since the start, on stdout and in a file."""

    def __init__(self, path: Path | None) -> None:
        self._began = time.monotonic()
        self._file = path.open("w") if path else None

    def __call__(self, line: str) -> None:
        text = f"{time.monotonic() - self._began:7.1f} {line}"
        print(text, flush=True)
        if self._file:
            self._file.write(text + "\n")
            self._file.flush()


def main() -> int:
    """All rounds, and that nothing is left."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--rounds", type=int, default=50)
    parser.add_argument("--seed", type=int, default=time.time_ns() % 2**32)
    parser.add_argument("--log", type=Path)
    given = parser.parse_args()
    if why := labs.unavailable():
        print(f"no lab can be had here: {why}", file=sys.stderr)
        return 1
    say = Log(given.log)
    say(f"{given.rounds} rounds, seed {given.seed}")
    try:
        with lab_of(3) as lab, site_of(lab) as site:
            chaos = Chaos(site, given.seed, say)
            for number in range(1, given.rounds + 1):
                chaos.round(number)
            chaos.end()
    except AssertionError as fault:
        say(f"FAILED: {fault}")
        return 1
    acts = ", ".join(f"{count} x {name}" for name, count in sorted(chaos.counts.items()))
    say(f"{given.rounds} rounds, seed {given.seed}: {acts}")
    say("each ended with a mesh that was whole; nothing is left, of it or of the lab")
    return 0


if __name__ == "__main__":
    sys.exit(main())
