"""The allocator against a model: nothing overlaps, nothing is lost."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from net.shared.slots import GRAIN, Slots, rounded

SIZE = 64 * GRAIN
steps = st.lists(st.integers(1, 20 * GRAIN) | st.integers(-40, -1), max_size=80)
"""Take so many bytes, or give the n-th of those that are taken."""


@pytest.mark.slow
@given(steps)
def test_slots_never_overlap_and_all_comes_back(plan):
    slots, taken = Slots(SIZE), {}
    for step in plan:
        if step > 0:
            start = slots.take(step)
            if start is None:
                assert all(end - begin < rounded(step) for begin, end in slots.gaps)
                continue
            taken[start] = rounded(step)
        elif taken:
            start = sorted(taken)[-step % len(taken)]
            slots.give(start)
            del taken[start]
        covered = sorted([(s, s + n) for s, n in taken.items()] + list(slots.gaps))
        assert [part for pair in covered for part in pair][1:-1:2] == [b for b, _ in covered[1:]]
        assert (covered[0][0], covered[-1][1]) == (0, SIZE)
        assert not any(a[1] == b[0] for a, b in zip(slots.gaps, slots.gaps[1:], strict=False))
        assert slots.used_bytes == sum(taken.values())
    for start in list(taken):
        slots.give(start)
    assert slots.empty
    assert slots.gaps == ((0, SIZE),)


def test_the_lowest_place_is_used_again_first():
    slots = Slots(SIZE)
    first, second = slots.take(GRAIN), slots.take(GRAIN)
    slots.take(GRAIN)
    slots.give(second)
    slots.give(first)
    assert slots.take(2 * GRAIN) == first


def test_what_is_not_taken_cannot_be_given():
    with pytest.raises(KeyError):
        Slots(SIZE).give(0)
