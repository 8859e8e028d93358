"""How layers travel: what is packed comes out, whole or not at all, however it is cut."""

from __future__ import annotations

import os
import struct
import zlib

import pytest

from otter_agent.api.parcels import END, MAX_PIECE_BYTES, Meter, Pace, ParcelError, Unpacker, pack

PIECES = [b"", b"a", b"text " * 9000, os.urandom(5000), bytes(70_000)]


def packed(pieces, level=1):
    return b"".join(pack(piece, level) for piece in pieces) + END


@pytest.mark.slow
@pytest.mark.parametrize("level", [0, 1, 6])
@pytest.mark.parametrize("step", [1, 7, 4096, 1 << 20])
def test_pieces_come_out_as_they_went_in(level, step):
    data, unpacker, meter = packed(PIECES, level), Unpacker(), Meter()
    found, counted = [], 0
    for at in range(0, len(data), step):
        counted += meter.feed(data[at : at + step])
        found += unpacker.feed(data[at : at + step])
    assert found == PIECES
    assert unpacker.ended
    assert counted == sum(map(len, PIECES))


def test_what_is_compressed_is_smaller_and_what_cant_be_stays_as_it_is():
    assert len(pack(bytes(100_000), 1)) < 1000
    noise = os.urandom(10_000)
    assert pack(noise, 6) == pack(noise, 0)


def test_a_cut_leaves_whole_pieces_and_no_end():
    data, unpacker = packed(PIECES, 0), Unpacker()
    found = list(unpacker.feed(data[: len(data) - len(END) - 1]))
    assert found == PIECES[:-1]
    assert not unpacker.ended


HEAD = struct.Struct("!BII")


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (HEAD.pack(7, 1, 1) + b"a", "unknown kind"),
        (HEAD.pack(0, MAX_PIECE_BYTES + 1, 1), "a piece of"),
        (HEAD.pack(0, 1, 2**32 - 1), "a piece of"),
        (HEAD.pack(0, 2, 1) + b"a", "another size"),
        (HEAD.pack(1, 5, 3) + b"abc", "can't be decompressed"),
        (HEAD.pack(1, 10, len(zlib.compress(bytes(10**6)))) + zlib.compress(bytes(10**6)), "size"),
        (END + pack(b"more", 0), "follows its end"),
    ],
)
def test_what_no_sender_sends_is_refused(data, says):
    with pytest.raises(ParcelError, match=says):
        list(Unpacker().feed(data))


def test_what_cant_be_compressed_is_tried_now_and_then():
    pace, noise, text = Pace(), os.urandom(10_000), bytes(10_000)
    assert len(pace.pack(text)) < 100
    packed = [pace.pack(one) for one in (noise, *[text] * 40)]
    sizes = [len(one) < 100 for one in packed]
    assert sizes.index(True) == 16  # tried again, and it helps
    assert all(sizes[16:])


def test_a_slow_way_is_compressed_for_and_a_fast_one_isnt():
    pace = Pace()
    assert pace.level == 1  # nothing is known of it yet
    for _ in range(100):
        pace.sent(1 << 18, (1 << 18) / 1e6)
    assert pace.level == 6
    for _ in range(300):
        pace.sent(1 << 18, (1 << 18) / 500e6)
    assert pace.level == 0
    for _ in range(300):
        pace.sent(1 << 18, (1 << 18) / 40e6)
    assert pace.level == 1
