"""Throw damaged input at every decoder.

    python -m tests.fuzz [--inputs 1000000] [--seed 7] [--only stream]

Prints the seed and the input of what fails, so that it can be repeated. Exit status 1 if one did.
"""

from __future__ import annotations

import argparse
import random
import resource
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from tests.fuzz.decoders import Decoder, targets
from tests.fuzz.mutate import mutated

ROOM_BYTES = 256 * 2**20
"""Far more than the decoders' limits, far less than the lengths that inputs claim."""


@contextmanager
def little_memory() -> Iterator[None]:
    """What a header claims must not be allocated: there is no room for it."""
    with open("/proc/self/statm") as pages:
        used = int(pages.read().split()[0]) * resource.getpagesize()
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (used + ROOM_BYTES, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


def throw(decode: Decoder, good: list[bytes], inputs: int, seed: int) -> None:
    """Raises what the decoder raises, with the input as a note."""
    for number in range(inputs):
        chance = random.Random(f"{seed}/{number}")
        data = mutated(chance, good)
        try:
            decode(data, chance)
        except Exception as fault:
            fault.add_note(f"seed {seed}, input {number}: {data[:400]!r} ({len(data)} bytes)")
            raise


def main() -> int:
    """All targets, so many inputs each."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--inputs", type=int, default=1_000_000, help="for each decoder")
    parser.add_argument("--seed", type=int, default=time.time_ns() % 2**32)
    parser.add_argument("--only", default="")
    args = parser.parse_args()
    chosen = [t for t in targets() if t[0].startswith(args.only)]
    for name, decode, good in chosen:
        print(f"{name}: {args.inputs} inputs, seed {args.seed}", flush=True)
        with little_memory():
            throw(decode, good, args.inputs, args.seed)
    print("nothing but refusals")
    return 0


if __name__ == "__main__":
    sys.exit(main())
