"""The codec: round trips under any chunking, and hostile bytes."""

from __future__ import annotations

import json
import struct
import tracemalloc
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from net import OTTER_WIRE_VERSION, wire
from net.errors import MessageTooLarge, RemoteWireError
from net.memory import aligned
from net.messages import Message, Parcel
from net.tcp.reader import Reader
from net.values import ARRAY, BYTES, GENERAL, JSON, TEXT, dumps, pack

arrays = hnp.arrays(
    dtype=st.sampled_from(
        ["|b1", "<i2", ">i4", "<u8", "<f4", "<f8", "<c8", "<U3", "<M8[ms]", "i1,f8", "3?,U2"]
    ),
    shape=hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=5),
)
plain = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
values = st.recursive(
    plain | st.binary(max_size=300) | arrays,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


def same(a, b):
    """Equality that knows arrays."""
    if isinstance(a, np.ndarray):
        return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(v, b[k]) for k, v in a.items())
    if isinstance(a, list):
        return len(a) == len(b) and all(map(same, a, b))
    return type(a) is type(b) and a == b


def encode(value, seq=1, *, limit_bytes=wire.MAX_MESSAGE_BYTES, **fields):
    """One message as bytes."""
    parcel = Parcel(pack(value), 7, 9, **{"made": 1.5, **fields})
    return b"".join(wire.encode(parcel, seq=seq, queued=2.0, sent=2.5, limit_bytes=limit_bytes))


def raw(kind, metadata, body=b"", *, version=OTTER_WIRE_VERSION):
    """A control message by hand; metadata that isn't bytes becomes JSON."""
    if not isinstance(metadata, bytes):
        metadata = json.dumps(metadata).encode()
    return wire.PREAMBLE.pack(b"OTTR", version, kind, 0, 0, len(metadata), len(body)) + (
        metadata + body
    )


def raw_message(form, metadata, body=b"", *, body_length=None, reply=b"", **changed):
    """A message by hand."""
    if not isinstance(metadata, bytes):
        metadata = dumps(metadata).encode()
    said = {"flags": 0, "seq": 1, "run": 7, "number": 9, "made": 1.0,
            "queued": 1.0, "sent": 1.0, "expires": 0.0, "length": len(metadata)}  # fmt: skip
    said |= changed
    length = len(body) if body_length is None else body_length
    head = wire.HEADER.pack(
        wire.MESSAGE_START, form, said["flags"], said["length"], length,
        len(reply), said["seq"], said["run"], said["number"],
        said["made"], said["queued"], said["sent"], said["expires"],
    )  # fmt: skip
    said_all = head + reply + metadata
    if length and form not in (BYTES, TEXT):
        said_all += bytes(-len(said_all) % 64)
    return said_all + body


def read(data, limit=wire.MAX_MESSAGE_BYTES):
    return list(Reader(limit).feed(data))


def in_memory(data):
    """The bytes of a message where datagrams and shared memory have them."""
    block = aligned(len(data))
    block[:] = np.frombuffer(data, np.uint8)
    return block


@pytest.mark.slow
@given(st.lists(values, min_size=1, max_size=3), st.data())
@settings(deadline=None)
def test_round_trip_under_any_chunking(sent, data):
    whole = b"".join(encode(value) for value in sent) + wire.LAST_WORD
    reader = Reader()
    cuts = sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=8)))
    events = []
    for start, end in zip([0, *cuts], [*cuts, len(whole)], strict=True):
        events += reader.feed(whole[start:end])
    *got, end = events
    assert isinstance(end, wire.End)
    assert all(same(value, event.value) for value, event in zip(sent, got, strict=True))
    assert all(same(value, wire.decode(in_memory(encode(value))).value) for value in sent)


def test_byte_by_byte():
    sent = {"a": np.arange(50.0), "b": [b"123", np.ones((2, 2), bool)]}
    reader = Reader()
    events = [event for byte in encode(sent) for event in reader.feed(bytes([byte]))]
    assert [same(sent, event.value) for event in events] == [True]


@pytest.mark.slow
def test_large_arrays_are_received_into_their_own_memory():
    sent = np.arange(1_000_000)
    reader, data = Reader(), memoryview(encode(sent))
    lengths = set()
    event = None
    while len(data):
        buffer = reader.get_buffer()
        lengths.add(len(buffer))
        count = min(len(buffer), len(data))
        buffer[:count] = data[:count]
        data = data[count:]
        reader.buffer_updated(count)
        event = reader.next_event()
    assert max(lengths) > 7_000_000
    assert same(sent, event.value)
    assert event.value.flags.writeable


def test_buffers_lie_at_multiples_of_64_wherever_they_are_received():
    sent = [np.ones(3, np.uint8), np.ones(5), b"x", np.ones(90_000, np.float32)]
    message = encode({"a": sent})
    for got in (read(message)[0].value["a"], wire.decode(in_memory(message)).value["a"]):
        for array in (got[0], got[1], got[3]):
            assert array.__array_interface__["data"][0] % 64 == 0
    (large,) = Reader().feed(encode(np.ones(100_000)))
    assert large.value.__array_interface__["data"][0] % 64 == 0


def test_of_a_whole_message_in_memory_nothing_is_copied():
    block = in_memory(encode({"a": np.zeros(1000, np.uint8), "b": 1}))
    value = wire.decode(block).value["a"]
    block[-1] = 7
    assert value[-1] == 7


def test_all_that_a_message_says():
    data = encode("x", 5, reply_to="b:1", made=10.25, expires=12.5)
    for event in (read(data)[0], wire.decode(in_memory(data))):
        assert (event.seq, event.run, event.number) == (5, 7, 9)
        assert (event.reply_to, event.expires) == ("b:1", 12.5)
        assert (event.made, event.queued, event.sent) == (10.25, 2.0, 2.5)
        assert event.size_bytes == len(data)
        event.source = "a"
        assert event.id == "a:00000007:9"


def test_a_message_that_waited_gets_another_time_of_sending():
    parcel = Parcel(pack(b"x"), 7, 9, "b:1", 1.5)
    first, *rest = wire.encode(parcel, seq=1, queued=2.0, sent=2.5)
    (event,) = read(b"".join([wire.stamped(first, 9.5), *rest]))
    assert (event.made, event.queued, event.sent, event.value) == (1.5, 2.0, 9.5, b"x")


def test_the_size_is_known_before():
    for value in (b"x", "é", None, {"a": np.ones(3)}, np.ones(1000), np.ones((2, 0))):
        parcel = Parcel(pack(value), 1, 2, "reply:to")
        data = b"".join(wire.encode(parcel, seq=1, queued=0.0, sent=0.0))
        assert wire.size_of(parcel) == len(data)


def test_handshake():
    said = (
        wire.hello("a.x>b.y", "y", "a", run=5, delivery="exactly-once")
        + wire.accept(1000, 17) + wire.refuse("no") + wire.ack(2**40) + wire.LAST_WORD
    )  # fmt: skip
    assert read(said) == [
        wire.Hello(OTTER_WIRE_VERSION, "a.x>b.y", "y", "a", 5, "exactly-once"),
        wire.Accept(1000, 17),
        wire.Refuse("no"),
        wire.Ack(2**40),
        wire.End(),
    ]


def test_hello_and_refuse_of_another_version_are_read_so_that_it_can_be_told():
    fields = {"stream": "s", "input": "i", "from": "f"}
    assert read(raw(wire.HELLO, fields, version=99))[0].version == 99
    assert read(raw(wire.REFUSE, {"reason": "too old"}, version=99)) == [wire.Refuse("too old")]
    with pytest.raises(RemoteWireError, match="version 99"):
        read(raw(wire.ACCEPT, {"limit": 1}, version=99))


HELLO = {"stream": "s", "input": "i", "from": "f", "run": 1, "delivery": "at-most-once"}


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        raw(0, {}),
        raw(7, {}),
        raw(wire.HELLO, {}),
        raw(wire.HELLO, HELLO | {"stream": "s" * 301}),
        raw(wire.HELLO, HELLO | {"stream": ""}),
        raw(wire.HELLO, HELLO, b"body"),
        *(raw(wire.HELLO, HELLO | {"run": bad}) for bad in (None, -1, 2**64, True, "1")),
        raw(wire.HELLO, HELLO | {"delivery": 5}),
        *(raw(wire.ACCEPT, {"limit": bad, "done": 0}) for bad in (True, -1, 2**64, None)),
        raw(wire.ACCEPT, {"limit": 5, "done": "x"}),
        *(raw(wire.REFUSE, bad) for bad in (b"{", b"\xff", b"[" * 4000, [], {"reason": None})),
        *(raw(wire.ACK, bad) for bad in (b"", b"1234567", b"123456789")),
        *(raw_message(JSON, bad) for bad in (b"{", b"\xff", b"[" * 200_000, b"")),
        raw_message(JSON, b"9" * 5000),
        raw_message(JSON, {}, b"more"),
        raw_message(5, {}),
        raw_message(BYTES, b"metadata", b"x"),
        raw_message(TEXT, b"", b"\xff"),
        *(raw_message(JSON, 1, flags=bad) for bad in (2, 128)),
        *(raw_message(form, m, b, seq=0) for form, m, b in ((JSON, 1, b""), (BYTES, b"", b"x"))),
        raw_message(BYTES, b"", b"x", flags=2), raw_message(BYTES, b"", b"x", expires=-1.0),
        *(raw_message(BYTES, b"", b"x", **{time: bad})
          for time in ("made", "queued", "sent", "expires")
          for bad in (float("nan"), float("inf"), 1e16)),
        *(raw_message(JSON, 1, **{time: bad}) for time in ("made", "queued", "sent", "expires")
          for bad in (float("nan"), float("inf"), -float("inf"), 1e16)),
        raw_message(JSON, 1, expires=-1.0),
        raw_message(JSON, 1, reply=b"\xff"), raw_message(JSON, 1, reply=b"x" * 1025),
        *(raw_message(ARRAY, bad, b"x") for bad in (
            {}, [], ["|u1"], ["|u1", [2]], ["|u1", [1], "C"], ["|u1", [1], "F", 1], ["|O", [1]],
            [[["a", "|O"]], [1]], ["|u1", 1])),
        *(raw_message(GENERAL, {"b": bad, "v": None}) for bad in (None, 1, [1], [["b", [], 1]])),
        raw_message(GENERAL, {"b": [["b", [], 0]], "v": 1}),
        raw_message(GENERAL, {"b": [["b", [], 0]] * 2, "v": None}),
        raw_message(GENERAL, {"b": [["a", [], "|u1", [0, 2**61, 2**61]]], "v": None}),
        raw_message(GENERAL, {"b": [["b", [], 5]], "v": None}, b"1234"),
        raw_message(GENERAL, []),
    ],
)  # fmt: skip
def test_what_the_protocol_forbids(data):
    reader = Reader()
    with pytest.raises(RemoteWireError):
        list(reader.feed(data))
    with pytest.raises(RemoteWireError):
        reader.next_event()
    if len(data) > wire.HEADER.size:
        with pytest.raises(RemoteWireError):
            wire.decode(in_memory(data))


@pytest.mark.slow
@given(st.binary(max_size=400), st.data())
@settings(deadline=None, max_examples=300)
def test_hostile_bytes_give_nothing_but_wire_errors(noise, data):
    good = encode({"a": np.arange(9.0), "t": "text", "b": [b"1", None]}) + wire.LAST_WORD
    at = data.draw(st.integers(0, len(good)))
    cut = data.draw(st.integers(0, 40))
    for hostile in (noise, good[:at] + noise + good[at + cut :], good[:20] + noise):
        try:
            for event in Reader(10_000).feed(hostile):
                assert isinstance(event, wire.Event)
        except (RemoteWireError, MessageTooLarge):
            pass


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=8,
)
entries = st.lists(
    st.tuples(
        st.sampled_from("anbsx"),
        st.lists(st.integers(-1, 2) | st.text(max_size=2), max_size=2),
        st.integers(-1, 5) | st.sampled_from(["|u1", "<f8", "<U2", "|O", "<M8[0s]", "<M8[s]"]),
        st.lists(st.integers(-1, 4), max_size=3),
    ).map(lambda e: list(e if e[0] in "an" else e[:3])),
    max_size=3,
)  # fmt: skip


@pytest.mark.slow
@given(json_values, entries, st.binary(max_size=80))
@settings(deadline=None, max_examples=300)
def test_hostile_metadata_gives_nothing_but_wire_errors(tree, buffers, body):
    data = raw_message(GENERAL, {"v": tree, "b": buffers}, body)
    with suppress(RemoteWireError, MessageTooLarge):
        read(data)
    with suppress(RemoteWireError, MessageTooLarge):
        wire.decode(in_memory(data))


def test_lengths_over_the_limit_are_refused_before_memory_is_taken():
    huge = {"b": [["a", [], "|u1", [2**40]]], "v": None}
    for data in (
        raw_message(GENERAL, huge, body_length=2**40),
        raw_message(BYTES, b"", body_length=2**40),
        raw_message(JSON, b"", length=2**32 - 1),
        raw_message(BYTES, b"", body_length=2**64 - 1),
        struct.pack("!4sBBBBIQ", b"OTTR", OTTER_WIRE_VERSION, wire.HELLO, 0, 0, 5000, 0),
    ):
        reader = Reader(2**20)
        tracemalloc.start()
        with pytest.raises(MessageTooLarge):
            list(reader.feed(data))
        assert tracemalloc.get_traced_memory()[1] < 2**19
        tracemalloc.stop()


@pytest.mark.slow
def test_the_sender_keeps_the_limits_too():
    with pytest.raises(MessageTooLarge):
        encode(np.zeros(1000), limit_bytes=8000)
    with pytest.raises(MessageTooLarge):
        encode(list(range(1_000_000)))


def test_a_message_that_may_not_be_yet_fails_by_its_preamble():
    with pytest.raises(RemoteWireError, match="none may be yet"):
        list(Reader(messages=False).feed(encode("x")[:20]))


def test_messages_may_come_once_they_are_allowed():
    reader = Reader(messages=False)
    events = []
    for event in reader.feed(wire.hello("s", "y", "a") + encode("x")):
        reader.allow_messages()
        events.append(type(event))
    assert events == [wire.Hello, Message]
