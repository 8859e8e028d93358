"""Memory for what arrives: aligned, and used again only when nobody can see it any more."""

from __future__ import annotations

import gc
import sys
import threading

import numpy as np
import pytest

from net.memory import POOLED_FROM, Pool, aligned

LARGE = POOLED_FROM + 1


@pytest.mark.parametrize("nbytes", [0, 1, 63, 64, 1000, POOLED_FROM, LARGE])
def test_it_is_aligned_flat_and_writable(nbytes):
    block = aligned(nbytes)
    assert block.__array_interface__["data"][0] % 64 == 0 or nbytes == 0
    assert (block.dtype, block.shape) == (np.uint8, (nbytes,))
    block[:] = 1


@pytest.mark.slow
@pytest.mark.parametrize(
    "view",
    [
        lambda block: block[5:],
        lambda block: block[:8].view(np.float64),
        lambda block: block.reshape(-1, 1).T,
        lambda block: memoryview(block),
        lambda block: np.asarray(memoryview(block))[3:],
        lambda block: np.from_dlpack(block),
        lambda block: block[1:][1:][1:],
    ],
)
def test_a_block_comes_back_only_after_its_last_view(view):
    pool = Pool()
    block = pool.take(LARGE)
    address = block.__array_interface__["data"][0]
    seen = view(block)
    del block
    gc.collect()
    assert (pool.lent, pool.spare_bytes) == (1, 0)
    other = pool.take(LARGE)
    assert other.__array_interface__["data"][0] != address
    del seen
    gc.collect()
    assert pool.lent == 1
    again = pool.take(LARGE)
    assert again.__array_interface__["data"][0] == address
    del other, again


def test_what_waits_is_bounded_and_the_longest_unused_go_first():
    pool = Pool(3 * LARGE)
    blocks = [pool.take(LARGE) for _ in range(9)]
    small = pool.take(LARGE // 2)
    del small
    assert pool.spare_bytes > 0
    blocks.clear()
    assert 0 < pool.spare_bytes <= 3 * LARGE
    huge = pool.take(4 * LARGE)
    waiting = pool.spare_bytes
    del huge
    assert pool.spare_bytes == waiting


@pytest.mark.slow
def test_views_may_end_in_any_thread(monkeypatch):
    pool, wrong = Pool(8 * LARGE), []
    monkeypatch.setattr(sys, "unraisablehook", lambda what: wrong.append(what.exc_value))

    def use(first):
        held = []
        for number in range(first, first + 3000):
            held.append(pool.take(LARGE + 64 * 1024 * (number % 20)))
            if len(held) > 4:
                held.clear()

    usual = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        threads = [threading.Thread(target=use, args=(7 * n,)) for n in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(usual)
    assert wrong == []
    assert pool.lent == 0
    assert sum(block.nbytes for blocks in pool._spare.values() for block in blocks) == (
        pool.spare_bytes
    )
    assert pool.spare_bytes <= 8 * LARGE
