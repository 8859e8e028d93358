"""The way of a short message out to the kernel, and of the next one to who waits, in both."""

import asyncio
import itertools
import socket
from collections import deque

import pytest

from net.header import MESSAGE_START
from net.shared import records
from tests.helpers.short_desk import COMPILED, LIMIT, MADE, EndedError, _short, desk_of, taking


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


def test_without_a_number_nothing_is_sent(made, sockets):
    out = Out(made, sockets)
    out.way = made.Way(
        "a:", 42, iter(()), out.clock.__next__, out.debts, out.tally, True, 0.5, b""
    )  # fmt: skip
    out.way.link, out.way.burst, out.way.most = out.link, object(), 200
    with pytest.raises(StopIteration):
        out.way.send(b"x", None)
    out.heard_nothing()


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
