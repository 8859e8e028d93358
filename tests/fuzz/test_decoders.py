"""Fifty thousand damaged inputs at every push; `make fuzz` throws a million at each decoder."""

from __future__ import annotations

import pytest

from tests.fuzz.__main__ import little_memory, throw
from tests.fuzz.decoders import targets

INPUTS = 50_000


@pytest.mark.slow
@pytest.mark.parametrize("target", list(targets()), ids=lambda target: target[0])
def test_damaged_input_gives_nothing_but_refusals(target):
    _, decode, good = target
    with little_memory():
        throw(decode, good, INPUTS // 4, seed=7)


def test_good_input_is_good():
    """Else the above would only ever see the first check refuse it."""
    from net.tcp.reader import Reader
    from tests.fuzz import decoders

    for data in decoders.messages() + decoders.controls():
        assert len(list(Reader().feed(data))) == 1
