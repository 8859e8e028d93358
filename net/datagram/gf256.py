"""Arithmetic in GF(256) on rows of bytes: what Reed-Solomon codes are made of. Pure.

The field is that of x^8 + x^4 + x^3 + x^2 + 1 (0x11d), as in RAID-6. A product of a matrix and
rows is computed bit by bit of the coefficients: sums (XOR) of rows in 64-bit words, four rows at a
time from a table of their 16 sums, then multiplied by x and added up (Horner). Must not know:
messages, fragments.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Bytes = NDArray[np.uint8]
Words = NDArray[np.uint64]

_POLYNOMIAL = 0x11D
_LOW = np.uint64(0xFEFEFEFEFEFEFEFE)
_CARRY = np.uint64(0x0101010101010101)
_REST = np.uint64(_POLYNOMIAL & 0xFF)
_ONE, _SEVEN = np.uint64(1), np.uint64(7)
_GROUP = 4


def _tables() -> tuple[Bytes, Bytes]:
    """Powers of x (twice over, so that sums of logarithms need no modulus), and logarithms."""
    powers, logs = np.zeros(512, np.uint8), np.zeros(256, np.uint8)
    value = 1
    for exponent in range(255):
        powers[exponent] = powers[exponent + 255] = value
        logs[value] = exponent
        value <<= 1
        if value & 0x100:
            value ^= _POLYNOMIAL
    return powers, logs


_POWERS, _LOGS = _tables()


def multiply(a: Bytes, b: Bytes) -> Bytes:
    """Element by element."""
    product = _POWERS[_LOGS[a].astype(np.intp) + _LOGS[b]]
    return np.where((a == 0) | (b == 0), np.uint8(0), product)


def reciprocal(a: Bytes) -> Bytes:
    """Of each element; none may be 0."""
    return _POWERS[255 - _LOGS[a].astype(np.intp)]


def inverse(matrix: Bytes) -> Bytes:
    """Of a square matrix, by elimination.

    Raises:
        ZeroDivisionError: It has none.
    """
    size = len(matrix)
    work = np.concatenate([matrix, np.eye(size, dtype=np.uint8)], axis=1)
    for column in range(size):
        pivots = np.flatnonzero(work[column:, column])
        if not len(pivots):
            raise ZeroDivisionError("singular matrix")
        if pivots[0]:
            work[[column, column + pivots[0]]] = work[[column + pivots[0], column]]
        work[column] = multiply(work[column], reciprocal(work[column, column : column + 1]))
        factors = work[:, column].copy()
        factors[column] = 0
        work ^= multiply(factors[:, None], work[column][None, :])
    return work[:, size:]


@lru_cache(1)
def cauchy() -> Bytes:
    """Element [j, i] is 1 / (255 - j + i): every square part of j + i < 256 has an inverse."""
    rows = np.arange(255, -1, -1, dtype=np.uint8)[:, None]
    columns = np.arange(256, dtype=np.uint8)[None, :]
    differences = rows ^ columns
    differences[differences == 0] = 1  # of parts that no code uses
    return reciprocal(differences)


def combine(matrix: Bytes, rows: Words) -> Words:
    """The matrix product: row j of the result is the sum of matrix[j, i] times rows[i].

    Args:
        matrix: uint8 [out, in].
        rows: uint64 [in, words]: eight elements a word.
    """
    outputs, words = len(matrix), rows.shape[1]
    chosen = _selections(matrix)
    sums = np.zeros((8 * outputs, words), np.uint64)
    taken = np.empty_like(sums)
    table = np.zeros((2**_GROUP, words), np.uint64)
    for group in range(len(chosen)):
        members = rows[_GROUP * group : _GROUP * (group + 1)]
        for place, row in enumerate(members):
            half = 2**place
            np.bitwise_xor(table[:half], row, out=table[half : 2 * half])
        np.take(table, chosen[group], axis=0, out=taken, mode="clip")
        np.bitwise_xor(sums, taken, out=sums)
    by_bit = sums.reshape(8, outputs, words)
    result: Words = by_bit[7]
    for bit in range(6, -1, -1):
        result = _times_x(result) ^ by_bit[bit]
    return result


def _selections(matrix: Bytes) -> NDArray[np.intp]:
    """Per group of rows and (bit, output): which of the group's sums to add."""
    outputs, inputs = matrix.shape
    padded = np.zeros((outputs, -(-inputs // _GROUP) * _GROUP), np.uint8)
    padded[:, :inputs] = matrix
    bits = (padded[None] >> np.arange(8, dtype=np.uint8)[:, None, None]) & 1
    grouped = bits.reshape(8 * outputs, -1, _GROUP).astype(np.intp)
    return np.ascontiguousarray((grouped << np.arange(_GROUP)).sum(axis=2).T)


def _times_x(words: Words) -> Words:
    return ((words << _ONE) & _LOW) ^ (((words >> _SEVEN) & _CARRY) * _REST)
