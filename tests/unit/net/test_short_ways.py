"""The two ways of a short message, in C and in Python: out to the kernel, and in to a task."""

import asyncio
import itertools
import socket
import sys
from collections import deque

import pytest

from net import plain
from net.header import MESSAGE_START
from net.shared import records
from net.values import BYTES

try:
    from net import _short
except ImportError:  # there was no compiler
    _short = None
else:
    _short.begin(MESSAGE_START)

MADE = {"python": plain} | ({"c": _short} if _short is not None else {})
LIMIT = 10_000
COMPILED = pytest.mark.skipif(_short is None, reason="there was no compiler")


@pytest.fixture(params=sorted(MADE))
def made(request):
    return MADE[request.param]


# --- out -------------------------------------------------------------------------------------


class Out:
    """A way, and the other end of the socket that it leads to."""

    def __init__(self, made, sockets, *, kept=True, times=None, before=b""):
        self.ours, self.theirs = sockets
        self.unsent, self.together = unsent, joined = [], []

        class Link(made.Link):
            def unsent(self, *what):
                unsent.append(what)

        class Burst:
            def join(self, data):
                joined.append(data)

        class Tally(made.Tally):
            pass

        self.tally, self.debts, self.link = Tally(), made.Debts(), Link()
        self.tally.messages = self.tally.nbytes = 0
        self.debts.written, self.debts.nbytes, self.debts.full = deque(), 0, False
        self.debts.most_bytes, self.debts.most_messages = 1000, 4
        self.link._fd, self.link.free, self.link.joined = self.ours.fileno(), True, False
        self.link.last, self.link.heard = 0.0, 0
        self.clock = iter(times or itertools.count(100.0))
        self.way = made.Way(
            "a:0000002a:", 42, itertools.count(1), self.clock.__next__, self.debts, self.tally,
            kept, 0.5, before,
        )  # fmt: skip
        self.way.link, self.way.burst, self.way.most = self.link, Burst(), 200

    def heard(self, made):
        data = self.theirs.recv(10_000, socket.MSG_DONTWAIT)
        scratch = made.Scratch(bytearray(data), made.Fields, LIMIT)
        scratch.end = len(data)
        found = []
        while (message := scratch.next(1.0)) is not None:
            found.append(message)
        assert not len(scratch)
        return found

    def heard_nothing(self):
        with pytest.raises(BlockingIOError):
            self.theirs.recv(1, socket.MSG_DONTWAIT)


@pytest.fixture
def sockets():
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    with ours, theirs:
        yield ours, theirs


def test_what_is_sent_has_its_number_its_id_and_its_times(made, sockets):
    out = Out(made, sockets, times=[5.0, 7.0, 9.0])
    assert out.way.send(b"one", None) == "a:0000002a:1"
    assert out.way.send(b"", "b:00000001:3") == "a:0000002a:2"
    assert out.way.at_once(b"three", 7, 8, None, 8.5) is True
    one, two, three = out.heard(made)
    assert (one.value, one.seq, one.run, one.number, one.reply_to) == (b"one", 1, 42, 1, None)
    assert (one.made, one.queued, one.sent, one.expires) == (5.0, 5.0, 5.0, 0.0)
    assert (two.value, two.seq, two.number, two.reply_to) == (b"", 2, 2, "b:00000001:3")
    assert (three.value, three.seq, three.run, three.number) == (b"three", 3, 7, 8)
    assert (three.made, three.queued, three.sent) == (8.5, 9.0, 9.0)
    assert out.way.seq == 3
    assert out.tally.messages == 3
    assert out.tally.nbytes == sum(each.size_bytes for each in (one, two, three))
    assert out.link.last == 9.0


def test_it_is_kept_until_it_is_acknowledged_and_no_more_than_so_many(made, sockets):
    out = Out(made, sockets)
    for _ in range(4):
        assert out.way.send(b"x", None)
    assert [(each[0], each[2]) for each in out.debts.written] == [(n, None) for n in range(1, 5)]
    data = out.theirs.recv(10_000)
    assert b"".join(each[3] for each in out.debts.written) == data
    assert sum(each[1] for each in out.debts.written) == out.debts.nbytes == len(data)
    assert out.debts.full
    assert out.way.send(b"x", None) is None
    assert out.way.at_once(b"x", 1, 2, None, 1.0) is False
    assert out.way.seq == 4
    large = Out(made, sockets)
    large.debts.most_bytes = 150
    assert large.way.send(b"x" * 100, None)
    assert large.debts.full
    none = Out(made, sockets, kept=False)
    assert none.way.send(b"x", None)
    assert (list(none.debts.written), none.debts.nbytes) == ([], 0)


@pytest.mark.parametrize(
    "odd",
    ["no link", "not free", "text", "long", "array", "long reply"],
)
def test_with_anything_in_the_way_nothing_is_done(made, sockets, odd):
    out, value, reply = Out(made, sockets), b"x", None
    if odd == "no link":
        out.way.link = out.way.burst = None
    elif odd == "not free":
        out.link.free = False
    elif odd == "long reply":
        reply = "x" * 257
    else:
        value = {"text": "x", "long": bytes(200), "array": bytearray(1)}[odd]
    assert out.way.send(value, reply) is None
    assert out.way.at_once(value, 1, 2, reply, 3.0) is False
    assert out.way.seq == out.tally.messages == 0
    assert (next(out.clock), list(out.debts.written)) == (100.0, [])
    with pytest.raises(BlockingIOError):
        out.theirs.recv(1, socket.MSG_DONTWAIT)


def test_an_id_that_is_no_text_is_said_so(made, sockets):
    with pytest.raises(UnicodeEncodeError):
        Out(made, sockets).way.send(b"x", "\ud800")


def test_what_follows_closely_or_joins_what_waits_goes_together(made, sockets):
    out = Out(made, sockets, times=[5.0, 5.4, 5.9, 7.0, 3.0, 9.0])
    out.debts.most_messages = 10
    assert out.way.send(b"1", None)
    assert out.way.send(b"2", None)  # 0.4 s later
    assert out.way.send(b"3", None)  # 0.5 s later: not closely
    assert (len(out.together), len(out.heard(made))) == (1, 2)
    out.link.joined = True
    assert out.way.send(b"4", None)
    out.link.joined = False
    assert out.way.send(b"5", None)  # the clock was set back
    assert out.way.send(b"6", None)
    assert (len(out.together), len(out.heard(made))) == (2, 2)
    assert [each[0] for each in out.debts.written] == [1, 2, 3, 4, 5, 6]


def test_what_follows_closely_but_answers_goes_at_once(made, sockets):
    """Waiting for more would cost it a turn of the loop, each time."""
    out, (asker, answerer) = Out(made, sockets, times=[5.0, 5.1, 5.2, 5.3]), socket.socketpair()
    with asker, answerer:
        assert out.way.send(b"1", None)
        asker.send(b"question")
        assert made.Scratch(bytearray(100), made.Fields, LIMIT).receive(answerer.fileno()) == 8
        assert out.way.send(b"2", None)
        assert (len(out.together), len(out.heard(made))) == (0, 2)
        assert out.way.send(b"3", None)
        assert len(out.together) == 1
        out.heard_nothing()


def test_what_the_kernel_does_not_take_is_said(made, sockets):
    out = Out(made, sockets)
    while True:
        try:
            out.ours.send(bytes(1000))
        except BlockingIOError:
            break
    assert out.way.send(b"x", None)
    ((data, sent, error),) = out.unsent
    assert (sent, error) == (0, 0)
    assert out.debts.written[0][3] == data


def test_that_the_other_end_is_gone_is_said(made, sockets):
    out = Out(made, sockets)
    out.theirs.close()
    assert out.way.send(b"x", None)
    ((_, sent, error),) = out.unsent
    assert sent == 0
    with pytest.raises(BrokenPipeError):
        raise OSError(error, "")


def test_before_each_goes_the_head_of_a_record_with_its_size(made, sockets):
    before = records.head(records.PIECE)
    out = Out(made, sockets, before=before)
    assert out.way.send(b"xyz", None)
    data = out.theirs.recv(10_000)
    assert records.read_head(data, len(data)) == (records.PIECE, len(data) - 32, 0, 0)
    assert data[32:38] == MESSAGE_START
    assert (out.tally.nbytes, out.debts.nbytes) == (len(data) - 32, len(data))
    assert out.debts.written[0][3] == data


@COMPILED
def test_it_leads_over_nothing_else_than_its_own_types(sockets):
    out = Out(_short, sockets)
    out.way.link = out.way.burst = "nothing of the kind"
    assert out.way.send(b"x", None) is None
    with pytest.raises(TypeError):
        _short.Way("a", 1, iter([]), None, "no debts", out.tally, True, 0.5, b"")
    with pytest.raises(TypeError):
        _short.Way("a", 1, 7, None, out.debts, out.tally, True, 0.5, b"")
    with pytest.raises(ValueError, match="record"):
        _short.Way("a", 1, iter([]), None, out.debts, out.tally, True, 0.5, b"x")
    with pytest.raises(TypeError, match="send takes"):
        out.way.send(b"x")
    with pytest.raises(TypeError, match="5 arguments"):
        out.way.at_once(b"x")


# --- counts ----------------------------------------------------------------------------------


def test_what_was_taken_is_counted_and_added_up_together(made):
    class Tally(made.Tally):
        def add_up(self):
            added.append(list(self.times))
            self.times.clear()

    added, tally = [], Tally()
    tally.messages = tally.nbytes = 0
    tally.times, tally.together = [], 10
    message = made.Fields(b"x", 1, 2, 3, None, 4.0, 5.0, 6.0, 0.0, 99)
    message.received, message.taken = 7.0, 8.0
    tally.took(message)
    assert (tally.messages, tally.nbytes, tally.times) == (1, 99, [4.0, 5.0, 6.0, 7.0, 8.0])
    tally.took(message)
    assert (tally.messages, tally.times, len(added)) == (2, [], 1)


def test_ids_are_those_that_the_wire_says(made):
    message = made.Fields(b"x", 1, 0x1F, 3, None, 4.0, 5.0, 6.0, 0.0, 99)
    message.source = "cämera"
    assert message.id == "cämera:0000001f:3"
    message.run = 2**63 + 5
    assert message.id == "cämera:=80000000000000050000000000000003"
    with pytest.raises(AttributeError):
        message.id = "x"


# --- a desk ----------------------------------------------------------------------------------


class EndedError(Exception):
    pass


def desk_of(made):
    class Desk(made.Desk):
        def __init__(self):
            self.waiters, self._items, self._current = deque(), deque(), None
            self._closed = self._ended = self._discarding = self.by_hand = False
            self.on_message, self._clock, self._loop = None, lambda: 50.0, None
            self.gave_up = []

        def take_now(self):
            if self._current is not None:
                current, self._current = self._current, None
                current.done()
            return self._items.popleft() if self._items else None

        def raise_if_ended(self):
            if self._ended or self._closed:
                raise EndedError

        def _get_loop(self):
            return asyncio.get_running_loop()

        def _gave_up(self, waiter):
            self.gave_up.append((waiter.cancelled(), waiter))
            if waiter in self.waiters:
                self.waiters.remove(waiter)

        def bring(self, item):
            self._items.append(item)
            self.waiters.popleft().wake_soon()

    return Desk()


async def test_what_is_queued_is_given_at_once_and_what_was_taken_is_done_with(made):
    desk = desk_of(made)
    desk._current = before = made.Fields(b"x", 1, 2, 3, None, 4.0, 5.0, 6.0, 0.0, 99)
    desk._items += "abc"
    assert await desk.next() == "a"
    assert before.finished
    assert await anext(desk) == "b"
    assert [each async for each in until_ended(desk)] == ["c"]
    with pytest.raises(EndedError):
        await desk.next()


async def until_ended(desk):
    async for each in desk:
        yield each
        desk._ended = True


@pytest.mark.parametrize("how", ["next", "__anext__"])
async def test_a_task_waits_for_the_next_that_comes(made, how):
    desk = desk_of(made)
    async with asyncio.TaskGroup() as group:
        task = group.create_task(taking(desk, how))
        await asyncio.sleep(0)
        assert len(desk.waiters) == 1
        desk._items.append("a")
        waiter = desk.waiters.popleft()
        desk._items.clear()  # another has taken it
        waiter.wake_soon()
        await asyncio.sleep(0)
        assert len(desk.waiters) == 1
        desk.bring("b")
    assert task.result() == "b"
    assert not desk.gave_up


async def taking(desk, how="next"):
    return await getattr(desk, how)()


async def test_the_end_comes_while_a_task_waits(made):
    for how, ends in (("next", EndedError), ("__anext__", StopAsyncIteration)):
        desk = desk_of(made)
        with pytest.raises(ends):
            await ended_while_waiting(desk, how)


async def ended_while_waiting(desk, how):
    def end():
        desk._ended = True
        desk.waiters.popleft().wake_soon()

    asyncio.get_running_loop().call_soon(end)
    return await taking(desk, how)


async def test_who_is_cancelled_says_so(made):
    desk = desk_of(made)
    async with asyncio.TaskGroup() as group:
        waits = group.create_task(taking(desk))
        await asyncio.sleep(0)
        waits.cancel()
        await asyncio.sleep(0)
        assert [each[0] for each in desk.gave_up] == [True]
        assert not desk.waiters
        woken = group.create_task(taking(desk))
        await asyncio.sleep(0)
        desk.bring("a")
        woken.cancel()
    assert woken.cancelled()
    assert [each[0] for each in desk.gave_up] == [True, False]
    assert list(desk._items) == ["a"]


async def test_what_is_awaited_elsewhere_can_be(made):
    desk = desk_of(made)
    desk._items += "ab"
    assert await asyncio.wait_for(desk.next(), 10) == "a"
    assert await asyncio.wait_for(anext(desk), 10) == "b"
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(desk.next(), 0.001)
    assert [each[0] for each in desk.gave_up] == [True]


async def test_a_default_is_given_at_the_end(made):
    desk = desk_of(made)
    desk._ended = True
    assert await anext(desk, "none") == "none"


# --- in: all that Python's does is the subclasses' ---------------------------------------------


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


async def received(into, *seqs, **how):
    """The message that a task gets while it waits, in the turn that brings it; None: none."""
    async with asyncio.TaskGroup() as group:
        task = group.create_task(taking(into.desk))
        await asyncio.sleep(0)
        into.say(*seqs, **how)
        called = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().call_soon(
            lambda: called.set_result((into.end.readable(), task.done())[1])
        )
        at_once = await called
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


@COMPILED
def test_nothing_is_left_of_many_that_came_and_went(into):
    """A count of references that is one off shows in a thousand."""

    async def many():
        for seq in range(7, 1007):
            assert (await received(into, seq)).seq == seq

    into.end._ack_timer, into.end._most_unsaid = "set", 10_000
    into.end._most_unsaid_bytes = 10**9
    before = [sys.getrefcount(each) for each in (None, True, False, into.end, into.desk, into.seen)]
    asyncio.run(many())
    after = [sys.getrefcount(each) for each in (None, True, False, into.end, into.desk, into.seen)]
    assert into.seen.done == 1005
    into.tally.times.clear()
    assert all(abs(one - other) < 100 for one, other in zip(before, after, strict=True))
