"""The way of a short message from a socket to a task, in C; the rest is Python's subclasses'."""

import asyncio
import gc
import itertools
import socket
import sys
from collections import deque

import pytest

from net.shared import records
from net.values import BYTES
from tests.helpers.short_desk import COMPILED, LIMIT, _short, desk_of, taking


@pytest.fixture
def sockets():
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    with ours, theirs:
        yield ours, theirs


class In:
    """A receiving end in C, what it leaves to Python, and the other end of its socket."""

    def __init__(self, sockets):
        self.ours, self.theirs = sockets
        self.left = left = []

        class Arrivals(_short.Arrivals):
            def _readable(self):
                left.append(("readable",))

            def _arrived(self):
                left.append(("arrived",))

            def _take_all(self, message, now):
                left.append(("take_all", message.seq, now))

            def _record(self, size):
                left.append(("record", size))

            def _unread(self, error):
                left.append(("unread", error))

            def _done(self, message):
                left.append(("done", message.seq))

        class Edge:
            pass

        class Tally(_short.Tally):
            def add_up(self):
                self.times.clear()

        class Seen(_short.Seen):
            pass

        self.end, self.desk, self.seen, self.tally = end, desk, seen, tally = (
            Arrivals(), desk_of(_short), Seen(), Tally()
        )  # fmt: skip
        end._fd, end._quick, end._acks, end._ended = self.ours.fileno(), True, True, False
        end._scratch = scratch = _short.Scratch(bytearray(3000), _short.Fields, LIMIT)
        scratch.preset("a", "a.x>b.y", end)
        end._inbox, end._progress, end._tally, end._edge = desk, seen, tally, Edge()
        end._edge.live, end._edge.progress = end, seen
        end._clock, end._ack_timer = itertools.count(10.0).__next__, None
        end._before, end._epoll = None, -1
        end._unsaid = end._unsaid_bytes = 0
        end._most_unsaid, end._most_unsaid_bytes = 3, 1000
        seen.received, seen.done, seen.open, seen.ahead = 6, 6, deque(), set()
        tally.messages = tally.nbytes = 0
        tally.times, tally.together = [], 1000

    def say(self, *seqs, value=b"x", expires=0.0, cut=0):
        data = b"".join(
            _short.encode(BYTES, 0, b"", value, None, seq, 1, seq, 1.0, 2.0, 3.0, expires)
            for seq in seqs
        )
        self.theirs.send(data[: len(data) - cut])


@pytest.fixture
def into(sockets):
    end = In(sockets)
    yield end
    end.end._scratch.preset("", "", None)
    end.end._edge.live = None


async def called(call):
    """As the loop calls it, from within no task."""
    heard = asyncio.get_running_loop().create_future()
    asyncio.get_running_loop().call_soon(lambda: heard.set_result(call()))
    return await heard


async def received(into, *seqs, **how):
    """The message that a task gets while it waits, in the turn that brings it; None: none."""
    async with asyncio.TaskGroup() as group:
        task = group.create_task(taking(into.desk))
        await asyncio.sleep(0)
        into.say(*seqs, **how)
        at_once = await called(lambda: (into.end.readable(), task.done())[1])
        if not at_once:
            task.cancel()
    return task.result() if at_once else None


@COMPILED
async def test_a_message_goes_straight_to_who_waits(into):
    message = await received(into, 7)
    assert (message.value, message.stream, message.carrier) == (b"x", "a.x>b.y", into.end)
    assert (message.received, message.taken) == (10.0, 50.0)
    assert (into.seen.received, list(into.seen.open)) == (7, [7])
    assert (into.tally.messages, into.tally.nbytes) == (1, message.size_bytes)
    assert into.tally.times == [1.0, 2.0, 3.0, 10.0, 50.0]
    assert into.desk._current is message
    assert not into.desk.waiters
    assert (await received(into, 8)).seq == 8
    assert message.finished
    assert into.left == [("done", 7)]  # nobody has set the timer of acknowledgements
    into.desk.by_hand, into.desk._current = True, None
    assert (await received(into, 9)).seq == 9
    assert into.desk._current is None


@COMPILED
@pytest.mark.parametrize(
    ("odd", "left"),
    [
        ("gap", ("take_all", 8, 10.0)), ("again", ("take_all", 6, 10.0)),
        ("first", ("take_all", 1, 10.0)), ("expires", ("take_all", 7, 10.0)),
        ("two", ("take_all", 7, 10.0)), ("queued", ("take_all", 7, 10.0)),
        ("closed", ("take_all", 7, 10.0)), ("discarding", ("take_all", 7, 10.0)),
        ("on_message", ("take_all", 7, 10.0)), ("nobody", ("take_all", 7, 10.0)),
        ("adds up", ("take_all", 7, 10.0)),
        ("half", ("arrived",)), ("text", ("arrived",)), ("not quick", ("readable",)),
        ("rest", ("readable",)), ("no inbox", ("readable",)), ("end", ("unread", 0)),
    ],
)  # fmt: skip
async def test_what_is_not_as_always_is_left_to_python(into, odd, left):
    seqs, how = {"gap": (8,), "again": (6,), "first": (1,), "two": (7, 8)}.get(odd, (7,)), {}
    if odd == "first":
        into.seen.received = 0
    elif odd in ("expires", "half"):
        how = {"expires": {"expires": 9e9}, "half": {"cut": 1}}[odd]
    elif odd in ("closed", "discarding"):
        setattr(into.desk, f"_{odd}", True)
    elif odd == "on_message":
        into.desk.on_message = print
    elif odd == "adds up":
        into.tally.together = 5
    elif odd == "not quick":
        into.end._quick = False
    elif odd == "rest":
        into.end._scratch.end = 3
    elif odd == "no inbox":
        into.end._inbox = None
    if odd in ("nobody", "queued", "closed", "end", "text"):
        if odd == "queued":
            into.desk._items.append("another")
        if odd == "end":
            into.theirs.close()
        elif odd == "text":
            into.theirs.send(b"nonsense" * 20)
        else:
            into.say(*seqs)
        into.end.readable()
    else:
        assert await received(into, *seqs, **how) is None
    assert into.left == [left]
    assert into.tally.messages == 0
    assert not into.seen.open


@COMPILED
async def test_what_another_task_is_at_is_not_forgotten(into):
    """It is done with when this one takes: by way of the queue."""
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(taking(into.desk)) for _ in range(2)]
        await asyncio.sleep(0)
        into.say(7)
        await called(into.end.readable)
        first = await tasks[0]
        assert (into.desk._current, first.finished, into.left) == (first, False, [])
        into.say(8)
        await called(into.end.readable)
        assert (into.desk._current, into.left) == (first, [("take_all", 8, 11.0)])
        tasks[1].cancel()


@COMPILED
async def test_who_is_cancelled_while_it_comes_has_not_got_it(into):
    """A clock may be Python's, and a signal's handler run in it."""
    async with asyncio.TaskGroup() as group:
        task = group.create_task(taking(into.desk))
        await asyncio.sleep(0)
        into.desk._clock = lambda: 50.0 + task.cancel()
        into.say(7)
        await called(into.end.readable)
    assert task.cancelled()
    assert into.left == [("take_all", 7, 10.0)]
    assert (into.desk._current, into.tally.messages) == (None, 0)


@pytest.fixture
def packets():
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ours.setblocking(False)
    with ours, theirs:
        yield ours, theirs


@COMPILED
async def test_records_are_taken_one_by_one_and_what_is_none_of_a_message_is_left(packets):
    into, before = In(packets), records.head(records.PIECE)
    into.end._before = before

    def record(seq, *, size=None, head=before, value=b"x"):
        data = _short.encode(BYTES, 0, b"", value, None, seq, 1, seq, 1.0, 2.0, 3.0, 0.0)
        return head[:8] + (len(data) if size is None else size).to_bytes(8) + head[16:] + data

    async def got(*sent):
        heard = []
        async with asyncio.TaskGroup() as group:

            async def hear():
                while True:
                    heard.append((await into.desk.next()).seq)

            task = group.create_task(hear())
            await asyncio.sleep(0)
            for each in sent:
                into.theirs.send(each)
            done = asyncio.get_running_loop().create_future()
            asyncio.get_running_loop().call_soon(lambda: done.set_result(into.end.readable()))
            await done
            task.cancel()
        return heard

    into.end._ack_timer, into.end._most_unsaid, into.seen.ahead = "set", 100, set()
    assert await got(record(7), record(8), record(9)) == [7, 8, 9]
    assert await got(record(10), record(11)) == [10]  # the last look found nothing
    assert await got() == [11]
    assert into.left == []
    other = records.head(records.SLOT, 1, 2, 3)
    for odd in (record(12, size=1), record(12, head=records.head(records.CONTROL)), other, b"x",
                record(12, value=bytes(4000)), record(13)):  # fmt: skip
        assert await got(odd) == []
        assert into.left.pop() == ("record", min(len(odd), 3000))
        assert len(into.end._scratch) == 0
    assert await got(record(12)) == [12]
    into.end._scratch.preset("", "", None)


@COMPILED
def test_nothing_to_read_is_nothing(into):
    into.end.readable()
    assert into.left == []
    into.end._fd = -1
    into.end.readable()
    assert into.left == [("unread", 9)]


@COMPILED
def test_what_is_done_with_is_counted_until_it_has_to_be_said(into):
    into.end._ack_timer = "set"
    into.seen.open += [7, 8, 9, 10]
    messages = {
        seq: _short.Fields(b"x", seq, 2, 3, None, 4.0, 5.0, 6.0, 0.0, 100) for seq in into.seen.open
    }
    into.end.done(messages[7])
    assert (into.seen.done, list(into.seen.open)) == (7, [8, 9, 10])
    assert (into.end._unsaid, into.end._unsaid_bytes) == (1, 100)
    into.end.done(messages[9])  # not the first
    into.end.done(messages[8])
    into.end.done(messages[9])  # one too many to say nothing
    assert into.left == [("done", 9), ("done", 9)]
    into.end._acks = False
    into.end.done(messages[9])
    assert (into.seen.done, into.end._unsaid) == (9, 2)
    into.left.clear()
    messages[10].urgent = True
    into.end.done(messages[10])
    messages[10].urgent, messages[10].exactly_once = False, True
    into.end.done(messages[10])
    messages[10].exactly_once, into.end._ended = False, True
    into.end.done(messages[10])
    into.end._ended, into.end._edge.live, into.end._quick = False, None, False
    into.end.done(messages[10])
    into.end._edge.live, into.end._edge.progress = into.end, None
    into.end.done(messages[10])
    into.end._edge.progress = into.seen
    into.seen.ahead.add(11)
    into.end.done(messages[10])
    assert into.left == [("done", 10)] * 6
    del into.end._edge.live
    with pytest.raises(AttributeError, match="live"):
        into.end.done(messages[10])


@pytest.mark.slow
@COMPILED
def test_nothing_is_left_of_many_that_came_and_went(into):
    """A count of references that is one off shows in a thousand."""

    async def many():
        for seq in range(7, 1007):
            assert (await received(into, seq)).seq == seq

    into.end._ack_timer, into.end._most_unsaid = "set", 10_000
    into.end._most_unsaid_bytes, into.tally.together = 10**9, 10**9
    gc.collect()  # what others left refers to None, too
    before = [sys.getrefcount(each) for each in (None, True, False, into.end, into.desk, into.seen)]
    asyncio.run(many())
    after = [sys.getrefcount(each) for each in (None, True, False, into.end, into.desk, into.seen)]
    assert into.seen.done == 1005
    into.tally.times.clear()
    assert all(abs(one - other) < 100 for one, other in zip(before, after, strict=True))
