"""Damaged inputs from good ones, the same for the same seed."""

from __future__ import annotations

import random

_INTERESTING = (0, 1, 2, 63, 64, 65, 127, 128, 255)
_LENGTHS = (0, 1, 2**16, 2**31 - 1, 2**31, 2**32 - 1, 2**40, 2**63, 2**64 - 1)


def mutated(chance: random.Random, good: list[bytes]) -> bytes:
    """One of the good inputs, or two, with a few things wrong with it."""
    data = bytearray(chance.choice(good))
    if chance.random() < 0.2:
        data += chance.choice(good)
    for _ in range(chance.randrange(1, 5)):
        _hurt(chance, data, good)
    return bytes(data)


def _hurt(chance: random.Random, data: bytearray, good: list[bytes]) -> None:
    at = chance.randrange(len(data) + 1)
    what = chance.randrange(7)
    if what == 0 and at < len(data):
        data[at] ^= 1 << chance.randrange(8)
    elif what == 1 and at < len(data):
        data[at] = chance.choice(_INTERESTING)
    elif what == 2:
        del data[at : at + chance.randrange(1, 40)]
    elif what == 3:
        data[at:at] = chance.randbytes(chance.randrange(1, 40))
    elif what == 4:
        size = chance.choice((2, 4, 8))
        number = chance.choice(_LENGTHS) % 2 ** (8 * size)
        data[at : at + size] = number.to_bytes(size, chance.choice(("big", "little")))
    elif what == 5:
        other = chance.choice(good)
        start = chance.randrange(len(other) + 1)
        data[at : at + 64] = other[start : start + 64]
    else:
        del data[at:]
