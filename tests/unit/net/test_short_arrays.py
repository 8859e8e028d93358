"""The way of arrays that lie in shared memory, in C and in Python: one contract for both."""

from __future__ import annotations

import errno
import gc
import itertools
import mmap
import socket
import sys
from collections import deque

import numpy as np
import pytest

from net.memory import aligned
from net.messages import Parcel
from net.shared import records
from net.values import pack
from net.wire import decode, encode
from tests.helpers.short_desk import MADE

HEAD_ROOM = 4096
REGION = 3


class Slot:
    def __init__(self, memory, at):
        self.memory, self.at = memory, at

    def write(self, buffers):
        data = b"".join(buffers)
        self.memory[self.at : self.at + len(data)] = data


class Out:
    """An array in memory of its own, and the other end of the socket that tells of it."""

    def __init__(self, made, shape=(40, 50), dtype="<f4"):
        self.made = made
        self.ours, self.theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.ours.setblocking(False)
        self.unsent, self.handed, self.heard_by_then = [], [], []
        self._way()
        self.memory = mmap.mmap(-1, 64 * 1024)
        self.array = np.ndarray(shape, dtype, self.memory, HEAD_ROOM)
        self.array.reshape(-1).view("u1")[:] = 7
        self.known, self.forgotten = {REGION}, []
        self.ready = {self.address: self.made_ready()}
        self.handing = made.Handing(
            self.way, self.ready, self.known, self.forgotten, np.ndarray, self.on_handed
        )
        self.handing.longest = 2**40

    def _way(self):
        unsent = self.unsent

        class Link(self.made.Link):
            def unsent(self, *what):
                unsent.append(what)

        self.link, self.tally, self.debts = Link(), self.made.Tally(), self.made.Debts()
        self.link._fd, self.link.free, self.link.joined = self.ours.fileno(), True, False
        self.link.last, self.link.heard = 0.0, 0
        self.tally.messages = self.tally.nbytes = 0
        self.debts.written, self.debts.nbytes, self.debts.full = deque(), 0, False
        self.debts.most_bytes, self.debts.most_messages = 1000, 4
        self.way = self.made.Way(
            "a:", 42, itertools.count(1), lambda: 100.0, self.debts, self.tally, True, 0.0,
            records.head(records.PIECE),
        )  # fmt: skip
        self.way.link = self.way.burst = self.link
        self.way.seq, self.way.most = 8, 200

    @property
    def address(self):
        return self.array.__array_interface__["data"][0]

    def made_ready(self, **other):
        head, body = encode(Parcel(pack(self.array), 0, 0), seq=1, queued=0.0, sent=0.0)
        self.size = len(head) + len(body)
        slot = Slot(self.memory, HEAD_ROOM - len(head))
        record = records.head(records.SLOT, REGION, slot.at, self.size)
        fields = {"array": self.array, "address": self.address, "head": head, "record": record,
                  "region": REGION, "slot": slot, "size": self.size}  # fmt: skip
        return self.made.Ready(*(fields | other).values())

    def on_handed(self, slot, seq, size):
        self.heard_by_then.append(self.heard())
        self.handed.append((slot, seq, size))

    def send(self, value=None, reply_to=None):
        return self.handing.at_once(
            self.array if value is None else value, 2**63, 5, reply_to, 90.5
        )

    def heard(self):
        try:
            return self.theirs.recv(1000, socket.MSG_DONTWAIT)
        except OSError:  # nothing, or closed
            return None

    def message(self, record):
        _, region, at, size = records.read_head(record, len(record))
        assert region == REGION
        own = aligned(size)
        own[:] = np.frombuffer(self.memory, "u1", size, at)
        return decode(own)

    def close(self):
        self.ours.close()
        self.theirs.close()


@pytest.fixture(params=sorted(MADE))
def made(request):
    return MADE[request.param]


@pytest.fixture
def out(made):
    found = Out(made)
    yield found
    found.close()


@pytest.mark.parametrize(
    ("shape", "dtype"),
    [((40, 50), "<f4"), ((3000,), "u1"), ((2, 1, 3, 500), ">i8"), ((), "<f8"), ((7,), "<M8[s]")],
)
def test_the_receiver_is_told_before_the_books_are_kept(made, shape, dtype):
    out = Out(made, shape, dtype)
    slot = out.ready[out.address].slot
    assert out.send()
    (record,) = out.heard_by_then
    message = out.message(record)
    assert message.value.tobytes() == out.array.tobytes()
    assert (message.value.shape, message.value.dtype) == (shape, np.dtype(dtype))
    assert (message.seq, message.run, message.number) == (9, 2**63, 5)
    assert (message.made, message.queued, message.sent) == (90.5, 100.0, 100.0)
    assert (message.expires, message.reply_to, message.urgent) == (0.0, None, False)
    assert message.size_bytes == out.size
    assert out.handed == [(slot, 9, out.size)]
    assert (out.way.seq, out.tally.messages, out.tally.nbytes) == (9, 1, out.size)
    assert out.unsent == []
    out.close()


def _block(out, what):
    match what:
        case "no link":
            out.way.link = None
        case "the link isn't free":
            out.link.free = False
        case "an acknowledgement has to come":
            out.debts.full = True
        case "an unknown region":
            out.known.clear()
        case "a region to tell of":
            out.forgotten.append(2)
        case "too long":
            out.handing.longest = out.size - 1
        case "sent before":
            out.ready.clear()
        case "another shape":
            out.array.shape = (50, 40)
        case "another type":
            out.array.dtype = "<i4"


@pytest.mark.parametrize(
    "what",
    ["no link", "the link isn't free", "an acknowledgement has to come", "an unknown region",
     "a region to tell of", "too long", "sent before", "another shape", "another type"],
)  # fmt: skip
def test_what_is_in_the_way_leaves_it_to_others(out, what):
    _block(out, what)
    _was_left(out, out.array)


@pytest.mark.parametrize(
    "view",
    [
        lambda array: array[1:],
        lambda array: array[:-1],
        lambda array: array[:, ::2],
        lambda array: array.T,
        lambda array: array[::-1],
        lambda array: array.copy(),
        lambda array: array.view(np.ma.MaskedArray),
        lambda array: array.reshape(-1),
        lambda array: memoryview(array),
        lambda array: [array],
        lambda array: None,
    ],
)
def test_what_is_not_that_very_array_is_left_to_others(out, view):
    _was_left(out, view(out.array))


def test_an_answer_is_left_to_others(out):
    _was_left(out, out.array, reply_to="b:1:1")


def _was_left(out, value, **options):
    before = out.memory[:]
    assert out.handing.at_once(value, 1, 2, options.get("reply_to"), 3.0) is False
    assert (out.heard(), out.handed, out.unsent) == (None, [], [])
    assert (out.way.seq, out.tally.messages, out.memory[:]) == (8, 0, before)


def test_another_view_of_all_of_it_is_as_good(out):
    assert out.send(out.array[:])
    assert len(out.handed) == 1


def test_bytes_go_the_way_of_bytes(out):
    assert out.send(b"abc")
    assert out.heard().endswith(b"abc")
    assert out.handed == []
    assert not out.send(b"x" * 200)


def test_what_the_kernel_does_not_take_the_link_is_told_and_the_books_are_kept(out):
    while True:
        try:
            out.ours.send(bytes(1000))
        except BlockingIOError:
            break
    record = records.head(records.SLOT, REGION, out.ready[out.address].slot.at, out.size)
    assert out.send()
    assert out.unsent == [(record, 0, 0)]
    assert len(out.handed) == 1
    out.theirs.close()
    assert out.send()
    assert out.unsent[1:] == [(record, 0, errno.ECONNRESET)]


def test_what_the_clock_does_meanwhile_counts(made):
    """It may be in Python, and a signal's handler may run with it."""
    out = Out(made)
    out.way = made.Way(
        "a:", 42, itertools.count(1), lambda: out.ready.clear() or 100.0, out.debts, out.tally,
        True, 0.0, b"",
    )  # fmt: skip
    out.way.link = out.way.burst = out.link
    out.handing = made.Handing(
        out.way, out.ready, out.known, out.forgotten, np.ndarray, out.on_handed
    )
    assert not out.send()
    assert out.heard() is None
    out.close()


def test_books_that_cannot_be_kept_are_heard_of(out):
    def full(*_):
        raise MemoryError

    out.handing = out.made.Handing(out.way, out.ready, out.known, out.forgotten, np.ndarray, full)
    out.handing.longest = 2**40
    with pytest.raises(MemoryError):
        out.send()
    assert out.heard() is not None


@pytest.mark.parametrize(
    "wrong",
    [{"address": 4096}, {"record": b"x" * 31}, {"head": b"x" * 70}, {"array": np.eye(9).T[1:]}],
)
def test_what_is_not_as_it_should_be_is_not_ready(out, wrong):
    with pytest.raises(ValueError, match="ready"):
        out.made_ready(**wrong)


@pytest.mark.slow
def test_nothing_is_left_of_many_that_were_sent(out):
    gc.collect()
    ready, things = out.ready[out.address], (out.array, out.array.dtype, out.link, out.forgotten)
    before = [sys.getrefcount(each) for each in things]
    for _ in range(1000):
        assert out.send()
        assert out.heard_by_then.pop() is not None
        out.ready[out.address] = out.made_ready()
    out.handed.clear()
    del ready
    assert all(
        abs(sys.getrefcount(each) - was) < 9 for each, was in zip(things, before, strict=True)
    )
