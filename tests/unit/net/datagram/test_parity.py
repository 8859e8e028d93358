"""The field is a field, and any k of k + r fragments give all of them back."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from net.datagram import gf256
from net.datagram.fragment import Shape, shape_of
from net.datagram.parity import mend, protect, words


def slow_product(a: int, b: int) -> int:
    """By the book: shift and reduce."""
    product = 0
    while b:
        if b & 1:
            product ^= a
        a <<= 1
        if a & 0x100:
            a ^= 0x11D
        b >>= 1
    return product


def test_products_are_those_of_the_field():
    every = np.arange(256, dtype=np.uint8)
    for a in (0, 1, 2, 3, 0x53, 0x80, 0xCA, 0xFF):
        wanted = [slow_product(a, b) for b in range(256)]
        assert gf256.multiply(np.full(256, a, np.uint8), every).tolist() == wanted
    units = every[1:]
    assert (gf256.multiply(units, gf256.reciprocal(units)) == 1).all()


@pytest.mark.slow
@given(st.integers(1, 12), st.integers(1, 17), st.integers(0, 2**32))
def test_combine_is_the_matrix_product(outputs, inputs, seed):
    rng = np.random.default_rng(seed)
    matrix = rng.integers(0, 256, (outputs, inputs), np.uint8)
    rows = rng.integers(0, 256, (inputs, 16), np.uint8)
    wanted = np.zeros((outputs, 16), np.uint8)
    for i in range(inputs):
        wanted ^= gf256.multiply(matrix[:, i : i + 1], rows[i][None])
    assert np.array_equal(gf256.combine(matrix, words(rows)).view(np.uint8), wanted)


def test_a_matrix_without_inverse_has_none():
    with pytest.raises(ZeroDivisionError):
        gf256.inverse(np.array([[2, 4], [1, 2]], np.uint8))


def test_every_square_part_of_the_codes_matrix_has_an_inverse():
    rng = np.random.default_rng(1)
    for size in (1, 2, 7, 40):
        rows = np.sort(rng.choice(100, size, replace=False))
        columns = np.sort(rng.choice(155, size, replace=False))
        part = gf256.cauchy()[rows][:, columns]
        identity = gf256.combine(gf256.inverse(part), words(np.repeat(part, 8, axis=1)))
        assert np.array_equal(identity.view(np.uint8)[:, ::8], np.eye(size, dtype=np.uint8))


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(st.integers(1, 60_000), st.floats(0.05, 1.0), st.integers(0, 2**32))
def test_any_k_of_a_block_give_it_back(length, ratio, seed):
    shape = shape_of(length, 256, ratio)
    rng = np.random.default_rng(seed)
    rows = rng.integers(0, 256, (shape.total, 256), np.uint8)
    all_words = words(rows)
    protect(shape, all_words[: shape.count], all_words[shape.count :])
    whole = rows.copy()
    for block in range(shape.blocks):
        count = shape.block_count(block)
        gone = set(rng.permutation(count + shape.parity)[: shape.parity].tolist())
        lost = sorted(i for i in gone if i < count)
        parity = {
            j: all_words[shape.count + j * shape.blocks + block].copy()
            for j in range(shape.parity)
            if count + j not in gone
        }
        for place in lost:
            rows[block + place * shape.blocks] = 0xAA
        mend(shape, block, all_words[: shape.count], lost, parity)
    assert np.array_equal(rows[: shape.count], whole[: shape.count])


def test_overhead_never_exceeds_the_ratio():
    for length in (1, 1000, 5000, 102_400, 2**20, 10**7):
        for ratio in (0.05, 0.1, 0.25, 0.5, 1.0):
            shape = shape_of(length, 1424, ratio)
            assert shape.total - shape.count <= ratio * shape.count
            assert -(-shape.count // shape.blocks) + shape.parity <= 255


def test_a_shape_without_parity_is_one_block():
    assert shape_of(1000, 1424, 0.25) == Shape(1000, 1424, 1, 0, 1, 1)
