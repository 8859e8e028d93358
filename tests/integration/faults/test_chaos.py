"""Some rounds of what `make chaos` has fifty of."""

from __future__ import annotations

import pytest

from tests.chaos.rounds import Chaos

pytestmark = pytest.mark.netns
SEED, ROUNDS = 11, 6
"""More than there are variants: each is come to, that with UDP tunnels too."""


def test_random_faults_end_with_a_mesh_that_is_whole(trio, site, capsys):
    log: list[str] = []
    chaos = Chaos(site, SEED, log.append)
    try:
        for number in range(1, ROUNDS + 1):
            chaos.round(number)
        chaos.end()
    except AssertionError as fault:
        fault.add_note("\n".join(log))
        raise
