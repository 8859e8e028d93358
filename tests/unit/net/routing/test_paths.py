"""First steps: sweeps and Dijkstra's agree, whatever the graph."""

from __future__ import annotations

import random
import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from net.routing import paths

EDGES = st.lists(
    st.tuples(st.integers(0, 11), st.integers(0, 11), st.sampled_from([0, 1, 2, 5, 10**9])),
    max_size=40,
)


def steps_of(count: int, edges) -> list[list[paths.Step]]:
    steps: list[list[paths.Step]] = [[] for _ in range(count)]
    for rank, (a, b, delay) in enumerate(edges):
        if a != b:
            steps[a].append((delay, b, rank))
    return steps


def both(steps):
    scaled = paths._scaled(steps)
    assert scaled is not None
    return paths._by_dijkstra(steps), paths._by_sweeps(steps, scaled)


@pytest.mark.slow
@settings(deadline=None)
@given(EDGES)
def test_they_agree(edges):
    slow, quick = both(steps_of(12, edges))
    assert quick == slow


@pytest.mark.slow
def test_they_agree_in_turns_and_in_pieces(monkeypatch):
    """More targets than fit at a time, a hub with more neighbours than are looked at at once."""
    chance = random.Random(7)
    edges = [(0, i, 5) for i in range(1, 60)] + [(i, 0, 5) for i in range(1, 60)]
    edges += [
        (chance.randrange(60), chance.randrange(60), chance.choice([1, 3])) for _ in range(90)
    ]
    monkeypatch.setattr(paths, "_MATRIX_BYTES", 8 * 60 * 7)
    monkeypatch.setattr(paths, "_ROWS", 4)
    slow, quick = both(steps_of(60, edges))
    assert quick == slow


@pytest.mark.parametrize("count", [60, 61])
def test_they_agree_on_rings(count):
    edges = [(i, (i + 1) % count, 5) for i in range(count)]
    edges += [(b, a, d) for a, b, d in edges]
    slow, quick = both(steps_of(count, edges))
    assert quick == slow


@pytest.mark.slow
def test_delays_too_unlike_for_whole_numbers_fall_back():
    """An hour and a nanosecond together, over many steps: no 64-bit sum holds both."""
    count = 400
    edges = [(i, (i + 1) % count, 3600 * 10**9 if i % 2 else 1) for i in range(count)]
    steps = steps_of(count, edges)
    assert paths._scaled([*steps] * 40) is None
    assert len(paths.first_steps(steps)[0]) == 1


def test_everything_divides_by_the_common_divisor():
    edges = [(i, i + 1, 3600 * 10**9) for i in range(3000)]
    assert paths._scaled(steps_of(3001, edges)) == (3600 * 10**9, 12)


@pytest.mark.slow
def test_a_star_of_thousands_stays_small():
    """Who reaches whom is nodes times nodes: 10,000 hosts took 4 GB in lists of ints."""
    count = 1200
    star = [[(1, node, node) for node in range(1, count)]]
    star += [[(1, 0, count + node)] for node in range(1, count)]
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        found = paths.first_steps(star)
        held = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert sum(len(targets) for steps in found for targets in steps.values()) == count**2 - count
    assert held < 6 * count**2
