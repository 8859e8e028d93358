"""Seeded chance: what links draw from, so that a run replays bit for bit.

Each purpose (loss, jitter, …) draws from a generator of its own: asking for jitter changes nothing
about which packets are lost. Source of the promise that a seed gives the same numbers in every
version: Python's documentation of `random`, "Notes on Reproducibility".
"""

from __future__ import annotations

import random
from collections.abc import Callable

Draw = Callable[[], float]
"""The next number, 0 <= number < 1."""
Chances = Callable[[str], Draw]
"""Purpose -> where it draws from."""


def chances(seed: int, *names: str) -> Chances:
    """The generators of whatever bears `names`: a mesh's seed, then the link and its direction."""
    start = "\0".join((str(seed), *names))

    def of(purpose: str) -> Draw:
        return random.Random(f"{start}\0{purpose}").random  # noqa: S311 - nothing secret

    return of
