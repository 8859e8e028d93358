"""Copying into shared memory, in C and in Python."""

from __future__ import annotations

import mmap

import numpy as np
import pytest

from tests.helpers.short_desk import MADE

MUCH = 8 * 2**20
"""From here on C goes past the caches: net/_short_copy.c."""


@pytest.fixture(params=sorted(MADE))
def made(request):
    return MADE[request.param]


@pytest.fixture(scope="module")
def room():
    """Memory that is all sevens."""
    memory = mmap.mmap(-1, MUCH + 8192)  # unmapped with its last view
    seen = np.frombuffer(memory, "u1")
    seen[:] = 7
    return memory, seen


@pytest.mark.slow
@pytest.mark.parametrize(
    ("at", "first", "nbytes"),
    [(0, 0, MUCH), (1, 5, MUCH + 64), (63, 1, MUCH + 1), (64, 3, MUCH + 63), (4096, 0, MUCH - 1),
     (0, 1, 0), (5, 0, 1000)],
)  # fmt: skip
def test_all_arrives_and_nothing_else_is_touched(made, room, at, first, nbytes):
    memory, seen = room
    data = (np.arange(MUCH + 200, dtype="u4") % 251).astype("u1")[first : first + nbytes]
    assert made.copy_in(memory, at, memoryview(data)) == at + nbytes
    assert np.array_equal(seen[at : at + nbytes], data)
    seen[at : at + nbytes] = 7
    assert (seen == 7).all()


@pytest.mark.parametrize(("at", "data"), [(-1, b"ab"), (99, b"ab"), (101, b""), (2**62, b"a")])
def test_what_does_not_fit_is_refused(made, at, data):
    memory = bytearray(100)
    with pytest.raises(ValueError, match="fit"):
        made.copy_in(memory, at, data)
    assert memory == bytes(100)


@pytest.mark.parametrize("memory", [b"read only", 5])
def test_memory_has_to_be_memory(made, memory):
    with pytest.raises((TypeError, BufferError)):
        made.copy_in(memory, 0, b"a")
