"""What handles short messages, in C and in Python: one contract for both."""

import asyncio
import contextvars
import gc
import shutil
import socket
import struct
import sys
import sysconfig
import weakref
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from net import plain
from net.header import HEADER, MESSAGE_START
from net.values import BYTES, TEXT

try:
    from net import _short
except ImportError:  # there was no compiler
    _short = None
else:
    _short.begin(MESSAGE_START)

MADE = {"python": plain} | ({"c": _short} if _short is not None else {})
LIMIT = 10_000
TIMES = (1.5, 2.5, 3.5, 0.0)


@pytest.fixture(params=sorted(MADE))
def made(request):
    return MADE[request.param]


@pytest.mark.skipif(
    not (shutil.which("gcc") and Path(sysconfig.get_path("include"), "Python.h").exists()),
    reason="no compiler, or no Python.h",
)
def test_it_is_built_where_that_can_be_done():
    """Else only one of the two would be tested, and nobody would know."""
    assert _short is not None, "make setup"


def scratch_of(made, *parts, limit=LIMIT):
    data = b"".join(parts)
    scratch = made.Scratch(bytearray(data) + bytearray(64), message_of(made), limit)
    scratch.end = len(data)
    return scratch


def message_of(made):
    class Message(made.Fields):
        __slots__ = ("__weakref__",)

    return Message


def short(made, body=b"abc", reply_to=None, *, form=BYTES, metadata=b"", flags=0, times=TIMES):
    return made.encode(form, flags, metadata, body, reply_to, 7, 2**63, 9, *times)


# --- fields ----------------------------------------------------------------------------------


def test_a_message_has_what_it_was_made_of_and_the_rest_is_nothing(made):
    message = made.Fields(b"x", 1, 2, 3, "a:1:2", 4.0, 5.0, 6.0, 7.0, 99)
    assert (message.value, message.seq, message.run, message.number) == (b"x", 1, 2, 3)
    assert (message.reply_to, message.made, message.queued, message.sent) == ("a:1:2", 4, 5, 6)
    assert (message.expires, message.size_bytes, message.urgent) == (7.0, 99, False)
    assert (message.source, message.stream, message.received, message.taken) == ("", "", 0.0, 0.0)
    assert (message.missing, message.carrier, message.twins) == (None, None, ())
    assert (message.recorded, message.finished, message.exactly_once) == (False, False, False)
    assert (message.answers, message._held) == (0, 0)
    message.stream = "a.x>b.y"
    assert message.stream == "a.x>b.y"


def test_done_is_said_to_the_carrier_once(made):
    class Carrier:
        def __init__(self):
            self.heard = []

        def done(self, message):
            self.heard.append(message)

    message = made.Fields(b"x", 1, 2, 3, None, 4.0, 5.0, 6.0, 0.0, 99)
    message.done()
    assert message.finished
    message = made.Fields(b"x", 1, 2, 3, None, 4.0, 5.0, 6.0, 0.0, 99)
    message.carrier = carrier = Carrier()
    message.done()
    message.done()
    assert carrier.heard == [message]
    held = made.Fields(b"x", 1, 2, 3, None, 4.0, 5.0, 6.0, 0.0, 99)
    held.carrier, held._held = carrier, 1
    held.done()
    assert held.finished
    assert carrier.heard == [message]


@pytest.mark.parametrize("name", ["finished", "carrier", "_held", "sent", "taken"])
def test_what_was_deleted_is_missed_as_of_any_object(made, name):
    message = made.Fields(b"x", 1, 2, 3, None, 4.0, 5.0, 6.0, 0.0, 99)
    message.carrier = SimpleNamespace(done=lambda message: None)
    delattr(message, name)
    with pytest.raises(AttributeError, match=name):
        _ = message.done(), message.moments()


@pytest.mark.skipif(_short is None, reason="there was no compiler")
@pytest.mark.parametrize("kind", [object, bytes, 5, None])
def test_messages_are_made_of_nothing_else(kind):
    """It would be written to as if it were a message."""
    with pytest.raises(TypeError, match="one of Fields"):
        _short.Scratch(bytearray(8), kind, LIMIT)


@pytest.mark.slow
def test_a_message_in_a_circle_is_collected(made):
    message = message_of(made)(b"x", 1, 2, 3, None, 4.0, 5.0, 6.0, 0.0, 99)
    message.carrier = [message]
    seen = weakref.ref(message)
    del message
    gc.collect()
    assert seen() is None


# --- there and back --------------------------------------------------------------------------


@pytest.mark.slow
@given(
    st.binary(max_size=200),
    st.none() | st.text(max_size=40),
    *[st.integers(0, 2**64 - 1)] * 2,
    st.lists(st.floats(-1e14, 1e14), min_size=3, max_size=3),
    st.booleans(),
)
def test_what_either_writes_both_read(body, reply_to, run, number, times, urgent):
    if reply_to is not None:
        reply_to = reply_to.encode("utf-8", "replace").decode()
    said = {
        made.encode(BYTES, urgent, b"", body, reply_to, 5, run, number, *times, 0.0)
        for made in MADE.values()
    }
    (data,) = said
    for made in MADE.values():
        scratch = scratch_of(made, data, data[:-1])
        message = scratch.next(4.5)
        assert (message.value, message.reply_to) == (body, reply_to or None)
        assert (message.seq, message.run, message.number) == (5, run, number)
        assert [message.made, message.queued, message.sent] == times
        assert (message.expires, message.urgent) == (0.0, urgent)
        assert message.size_bytes == scratch.at == len(data)
        assert message.moments() == (*times, 4.5, 0.0)
        assert scratch.next(4.5) is None
        assert len(scratch) == len(data) - 1


@pytest.mark.slow
@given(st.binary(max_size=200), st.integers(0, 83), st.integers(0, 255))
def test_both_think_the_same_of_damaged_bytes(body, at, byte):
    data = bytearray(short(plain, body, "b:1:2"))
    data[at] = byte
    found = []
    for made in MADE.values():
        scratch = scratch_of(made, bytes(data))
        message = scratch.next(4.5)
        told = message and (message.value, message.reply_to, message.seq, message.run, message.made)
        found.append((told, scratch.at))
    assert all(each == found[0] for each in found)


@pytest.mark.parametrize(
    "odd",
    [
        {"form": TEXT},
        {"metadata": b"[]"},
        {"flags": 2},
        {"times": (float("nan"), 0.0, 0.0, 0.0)},
        {"times": (float("inf"), 0.0, 0.0, 0.0)},
        {"times": (1e15, 1.0, 1.0, 0.0)},
        {"times": (1e300, -1e300, 1.0, 0.0)},
        {"times": (-1e15, 1.0, 1.0, 1e15)},
        {"times": (1.0, 1.0, 1.0, -1.0)},
    ],
)
def test_what_is_odd_is_left_for_a_closer_look(made, odd):
    scratch = scratch_of(made, short(made, **odd))
    assert scratch.next(4.5) is None
    assert scratch.at == 0


def test_lengths_that_lie_are_left_for_a_closer_look(made):
    for size in (2**63, 2**64 - 1, 2**64 - 84, 4, 10**6):
        data = bytearray(short(made, b"abc"))
        struct.pack_into("!Q", data, 12, size)
        assert scratch_of(made, bytes(data)).next(4.5) is None
    long_reply = bytearray(short(made, bytes(3000)))
    struct.pack_into("!H", long_reply, 20, 1025)
    assert scratch_of(made, bytes(long_reply)).next(4.5) is None
    no_text = bytearray(short(made, b"abc", "ab"))
    no_text[HEADER.size] = 0xFF
    assert scratch_of(made, bytes(no_text)).next(4.5) is None
    assert scratch_of(made, short(made, bytes(100)), limit=100).next(4.5) is None


@pytest.mark.skipif(_short is None, reason="there was no compiler")
def test_what_is_outside_of_the_memory_is_not_looked_at():
    scratch = scratch_of(_short, short(_short))
    for at, end in ((-1, 50), (10**9, 10**9 + 100), (0, 10**9), (90, 20)):
        scratch.at, scratch.end = at, end
        assert scratch.next(4.5) is None
        with pytest.raises(ValueError, match="outside of the memory"):
            scratch.receive(0)


def test_what_cannot_be_said_is_refused(made):
    with pytest.raises(ValueError, match="no short message"):
        short(made, reply_to="x" * 1025)
    with pytest.raises((OverflowError, struct.error)):
        made.encode(BYTES, 0, b"", b"", None, 2**64, 0, 0, *TIMES)
    with pytest.raises((OverflowError, struct.error)):
        made.encode(BYTES, 0, b"", b"", None, -1, 0, 0, *TIMES)
    for form, flags in ((256, 0), (-1, 0), (BYTES, 256), (BYTES, -1)):
        with pytest.raises((OverflowError, struct.error)):
            made.encode(form, flags, b"", b"", None, 1, 0, 0, *TIMES)
    with pytest.raises(TypeError):
        made.encode(BYTES, 0, b"", b"")
    with pytest.raises(UnicodeEncodeError):
        short(made, reply_to="\ud800")


def test_messages_get_what_their_stream_knows(made):
    scratch, carrier = scratch_of(made, short(made), short(made)), object()
    assert (scratch.next(4.5).source, scratch.at) == ("", len(scratch))
    scratch.preset("a", "a.x>b.y", carrier)
    message = scratch.next(5.5)
    assert (message.source, message.stream) == ("a", "a.x>b.y")
    assert (message.carrier, message.received) == (carrier, 5.5)


# --- receiving -------------------------------------------------------------------------------


def test_it_receives_behind_what_lies_there_and_from_the_start_when_all_is_read(made):
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)
        scratch = made.Scratch(bytearray(1000), message_of(made), LIMIT)
        with pytest.raises(BlockingIOError):
            scratch.receive(ours.fileno())
        data = short(made)
        theirs.send(data[:50])
        assert scratch.receive(ours.fileno()) == 50
        theirs.send(data[50:])
        assert scratch.receive(ours.fileno()) == len(data) - 50
        assert scratch.next(4.5).value == b"abc"
        theirs.send(data)
        assert scratch.receive(ours.fileno()) == len(data)
        assert (scratch.at, scratch.end) == (0, len(data))
        assert bytes(scratch.memory[: len(data)]) == data
        theirs.close()
        assert scratch.receive(ours.fileno()) == 0
    with pytest.raises(OSError, match="Bad file descriptor"):
        scratch.receive(-1)


# --- waiting ---------------------------------------------------------------------------------


async def waiting(waiter, said):
    said.append("waits")
    try:
        await waiter
        said.append("woken")
    except asyncio.CancelledError:
        said.append("cancelled")
        raise


async def begun(made, group):
    said, waiter = [], made.Waiter(asyncio.get_running_loop())
    task = group.create_task(waiting(waiter, said))
    await asyncio.sleep(0)
    assert said == ["waits"]
    assert not waiter.done()
    return waiter, task, said


async def from_the_loop(call):
    """As a callback of the loop calls it: from within no task."""
    loop = asyncio.get_running_loop()
    called = loop.create_future()
    loop.call_soon(lambda: called.set_result(call()))
    return await called


async def test_a_task_goes_on_before_wake_returns(made):
    async with asyncio.TaskGroup() as group:
        waiter, _, said = await begun(made, group)
        assert await from_the_loop(lambda: (waiter.wake(), list(said))[1]) == ["waits", "woken"]
    assert waiter.done()
    assert not waiter.cancelled()


async def test_a_task_goes_on_in_the_next_turn(made):
    async with asyncio.TaskGroup() as group:
        waiter, _, said = await begun(made, group)
        waiter.wake_soon()
        assert said == ["waits"]
    assert said == ["waits", "woken"]


async def test_a_task_that_waits_can_be_cancelled(made):
    async with asyncio.TaskGroup() as group:
        waiter, task, said = await begun(made, group)
        task.cancel()
    assert said == ["waits", "cancelled"]
    assert waiter.cancelled()
    waiter.wake()  # too late: nothing comes of it
    assert waiter.cancelled()


async def test_a_task_can_be_cancelled_once_it_was_woken(made):
    async with asyncio.TaskGroup() as group:
        waiter, task, said = await begun(made, group)
        waiter.wake_soon()
        task.cancel()
    assert said == ["waits", "cancelled"]
    assert waiter.done()
    assert not waiter.cancelled()


async def test_one_that_was_woken_before_is_not_waited_for(made):
    waiter, said = made.Waiter(asyncio.get_running_loop()), []
    waiter.wake()
    await waiting(waiter, said)
    assert said == ["waits", "woken"]


async def test_a_timeout_ends_the_waiting(made):
    waiter = made.Waiter(asyncio.get_running_loop())
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.001):
            await waiter


async def test_what_the_task_raises_is_the_tasks(made):
    waiter = made.Waiter(asyncio.get_running_loop())

    async def fails():
        await waiter
        raise RuntimeError("mine")

    async def wake_it():
        async with asyncio.TaskGroup() as group:
            group.create_task(fails())
            await asyncio.sleep(0)
            await from_the_loop(waiter.wake)

    with pytest.raises(ExceptionGroup) as raised:
        await wake_it()
    assert [str(each) for each in raised.value.exceptions] == ["mine"]


def test_what_it_lets_go_of_may_call_it(made):
    """At the end of a callback that another has taken the place of."""
    heard = []

    class Callback:
        def __call__(self, waiter):
            heard.append(self)

        def __del__(self):
            waiter.wake()

    waiter, context = made.Waiter(None), contextvars.copy_context()
    waiter.add_done_callback(Callback(), context=context)
    waiter.add_done_callback(heard.append, context=context)
    assert heard == [waiter]


async def test_it_runs_in_the_tasks_context(made):
    name = contextvars.ContextVar("name", default="the loop's")
    waiter, seen = made.Waiter(asyncio.get_running_loop()), []

    async def look():
        name.set("the task's")
        await waiter
        seen.append(name.get())

    async with asyncio.TaskGroup() as group:
        group.create_task(look())
        await asyncio.sleep(0)
        await from_the_loop(waiter.wake)
    assert seen == ["the task's"]


@pytest.mark.skipif(_short is None, reason="there was no compiler")
def test_nothing_is_left_of_many(made):
    """A count of references that is one off shows in a thousand."""
    data, memory = short(made, b"abc", "b:1:2"), bytearray(1000)
    kind = message_of(made)

    def many():
        for _ in range(1000):
            scratch = made.Scratch(memory, kind, LIMIT)
            scratch.memory[: len(data)] = data
            scratch.end = len(data)
            message = scratch.next(4.5)
            message.carrier = None
            message.done()
            made.Waiter(None).wake()
            short(made, b"abc", "b:1:2")

    many()
    gc.collect()  # what others left refers to None, too
    before = [sys.getrefcount(each) for each in (None, True, False, "", (), kind, memory)]
    many()
    after = [sys.getrefcount(each) for each in (None, True, False, "", (), kind, memory)]
    assert all(abs(one - other) < 100 for one, other in zip(before, after, strict=True))
