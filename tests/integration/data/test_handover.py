"""Bytes between the event loop and threads: whole, in order, with errors and early ends."""

from __future__ import annotations

import os

import pytest

from net.handover import read_in_thread, write_in_thread

DATA = [os.urandom(300_000) for _ in range(20)]


async def given(fail=None):
    for chunk in DATA:
        yield chunk
    if fail is not None:
        raise fail


async def test_all_of_it_goes_to_a_thread():
    assert await read_in_thread(given(), lambda source: source.read()) == b"".join(DATA)


async def test_who_reads_no_further_leaves_the_rest():
    assert await read_in_thread(given(), lambda source: source.read(10)) == DATA[0][:10]


async def test_an_error_of_the_source_is_raised_when_the_thread_has_ended():
    seen = []
    with pytest.raises(ZeroDivisionError):
        await read_in_thread(given(ZeroDivisionError()), lambda source: seen.append(source.read()))
    assert seen == [b"".join(DATA)]


async def test_an_error_of_the_thread_is_raised():
    with pytest.raises(ZeroDivisionError):
        await read_in_thread(given(), lambda source: 1 / 0)


async def test_all_of_it_comes_from_a_thread():
    assert b"".join([chunk async for chunk in write_in_thread(lambda: DATA)]) == b"".join(DATA)


async def test_its_error_comes_last():
    def make():
        yield DATA[0]
        raise ZeroDivisionError

    got = []

    async def collect():
        async for _ in _noted(write_in_thread(make), got):
            pass

    with pytest.raises(ZeroDivisionError):
        await collect()
    assert b"".join(got) == DATA[0]


async def _noted(chunks, got):
    async for chunk in chunks:
        got.append(chunk)
        yield chunk


async def test_who_leaves_early_ends_the_thread():
    ended = []

    def make():
        try:
            while True:
                yield DATA[0]
        finally:
            ended.append(True)

    chunks = write_in_thread(make)
    await anext(chunks)
    await chunks.aclose()
    assert ended == [True]
