"""Layers on their way in: kept over cuts, checked by digest, refused where there is no room."""

from __future__ import annotations

import asyncio
import errno
import hashlib
import os
import time

import pytest

from otter_agent.api.parcels import END, pack
from otter_agent.errors import AgentError
from otter_agent.images.sending.staging import Staging

DATA = os.urandom(300_000)
DIGITS = hashlib.sha256(DATA).hexdigest()
PIECES = [DATA[at : at + 100_000] for at in range(0, len(DATA), 100_000)]


async def stream(*chunks):
    for chunk in chunks:
        yield chunk


def whole(start=0):
    return [*(pack(piece, 1) for piece in PIECES[start:]), END]


async def code_of(taking):
    with pytest.raises(AgentError) as caught:
        await taking
    return caught.value.code


@pytest.fixture
def staging(tmp_path):
    return Staging(tmp_path / "layers")


async def test_a_layer_comes_whole(staging):
    assert staging.offset(DIGITS) == 0
    await staging.take(DIGITS, 0, stream(*whole()))
    assert staging.offset(DIGITS) is None
    assert staging.path(DIGITS).read_bytes() == DATA
    await staging.take(DIGITS, 0, stream(b"is not looked at"))
    staging.drop(DIGITS)
    assert staging.offset(DIGITS) == 0


@pytest.mark.parametrize("another_agent", [False, True])
async def test_a_cut_leaves_what_has_come_and_the_next_goes_on_there(staging, another_agent):
    cut = b"".join(whole())[: -len(END) - 100]
    assert await code_of(staging.take(DIGITS, 0, stream(cut))) == "cut"
    assert staging.offset(DIGITS) == 200_000
    if another_agent:
        staging = Staging(staging.folder)
    assert await code_of(staging.take(DIGITS, 0, stream(*whole()))) == "changed"
    await staging.take(DIGITS, 200_000, stream(*whole(2)))
    assert staging.path(DIGITS).read_bytes() == DATA


async def test_a_reader_who_goes_away_leaves_what_has_come(staging):
    arrived, never = asyncio.Event(), asyncio.Event()

    async def slow():
        yield whole()[0]
        arrived.set()
        await never.wait()

    async with asyncio.TaskGroup() as group:
        task = group.create_task(staging.take(DIGITS, 0, slow()))
        await arrived.wait()
        task.cancel()
    assert staging.offset(DIGITS) == 100_000
    await staging.take(DIGITS, 100_000, stream(*whole(1)))


async def test_what_isnt_the_layer_is_refused_and_not_kept(staging):
    wrong = [pack(b"wrong", 1), END]
    assert await code_of(staging.take(DIGITS, 0, stream(*wrong))) == "corrupt"
    assert await code_of(staging.take(DIGITS, 0, stream(b"\x07" * 20))) == "corrupt"
    assert list(staging.folder.iterdir()) == []


async def test_a_full_disk_is_told_and_what_came_makes_room(staging, monkeypatch):
    """The kernel's own word for it: /dev/full is a disk without room."""
    staging.folder.mkdir()
    (staging.folder / f"{DIGITS}.part").symlink_to("/dev/full")
    assert await code_of(staging.take(DIGITS, 0, stream(*whole()))) == "no-space"
    assert list(staging.folder.iterdir()) == []
    assert os.strerror(errno.ENOSPC)


async def test_what_has_no_end_leaves_some_room_on_the_disk(staging, monkeypatch):
    monkeypatch.setattr("otter_agent.images.sending.staging.SPARE_BYTES", 1 << 60)
    monkeypatch.setattr("otter_agent.images.sending.staging.SPARE_RATIO", 1.0)
    assert await code_of(staging.take(DIGITS, 0, stream(*whole()))) == "no-space"
    assert list(staging.folder.iterdir()) == []


def test_what_cant_fit_is_refused_before_it_comes(staging, tmp_path):
    staging.check_room("x", 1000, 1000, tmp_path)
    with pytest.raises(AgentError, match=r"x needs .* TB|x needs .* GB") as caught:
        staging.check_room("x", 1 << 60, 0, tmp_path)
    assert caught.value.code == "no-space"
    staging.check_room("x", 0, 1 << 60, tmp_path / "not seen from here")
    with pytest.raises(AgentError):
        staging.check_room("x", 0, 1 << 60, tmp_path)


async def test_what_nobody_goes_on_with_is_given_up(staging):
    await staging.take(DIGITS, 0, stream(*whole()))
    assert staging.sweep() == 0
    assert staging.held_bytes() == len(DATA)
    old = time.time() - 8 * 86400
    os.utime(staging.path(DIGITS), (old, old))
    assert staging.sweep() == len(DATA)
    assert staging.offset(DIGITS) == 0


def test_what_goes_while_it_is_counted_counts_nothing(staging):
    staging.folder.mkdir()
    (staging.folder / DIGITS).write_bytes(DATA)
    (staging.folder / f"{DIGITS}.part").symlink_to("gone")
    assert staging.held_bytes() == len(DATA)


async def test_what_is_pruned_meanwhile_is_sent_anew(staging):
    async def pruning():
        *first, end = whole()
        for parcel in first:
            yield parcel
        staging.sweep(0.0)
        yield end

    assert await code_of(staging.take(DIGITS, 0, pruning())) == "changed"
    assert staging.offset(DIGITS) == 0
    await staging.take(DIGITS, 0, stream(*whole()))
