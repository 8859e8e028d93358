"""Fifty thousand damaged inputs at every push; `make fuzz` throws a million."""

from __future__ import annotations

import resource

import pytest

from tests.fuzz.__main__ import throw
from tests.fuzz.decoders import targets

INPUTS = 50_000
ROOM_BYTES = 256 * 2**20
"""Far more than the decoders' limits, far less than the lengths that inputs claim."""


@pytest.fixture
def little_memory():
    """What a header claims must not be allocated: there is no room for it."""
    with open("/proc/self/statm") as pages:
        used = int(pages.read().split()[0]) * resource.getpagesize()
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (used + ROOM_BYTES, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_AS, before)


@pytest.mark.slow
@pytest.mark.parametrize("target", list(targets()), ids=lambda target: target[0])
def test_damaged_input_gives_nothing_but_refusals(target, little_memory):
    _, decode, good = target
    throw(decode, good, INPUTS // 4, seed=7)


def test_good_input_is_good():
    """Else the above would only ever see the first check refuse it."""
    from net.tcp.reader import Reader
    from tests.fuzz import decoders

    for data in decoders.messages() + decoders.controls():
        assert len(list(Reader().feed(data))) == 1
