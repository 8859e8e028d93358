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
from net.values import pack

arrays = hnp.arrays(
    dtype=st.sampled_from(["|b1", "<i2", ">i4", "<u8", "<f4", "<f8", "<c8", "<U3", "<M8[ms]"]),
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


def encode(value, **fields):
    """One message as bytes."""
    head = {"message_id": "m:1", "reply_to": None, "made": 1.5, "sent": 2.5, **fields}
    return b"".join(wire.message(pack(value), **head))


def raw(kind, metadata, body=b"", *, version=OTTER_WIRE_VERSION, body_length=None):
    """A message by hand; metadata that isn't bytes becomes JSON, aligned if there is a body."""
    if not isinstance(metadata, bytes):
        metadata = json.dumps(metadata).encode()
    length = len(body) if body_length is None else body_length
    if length:
        metadata += b" " * (-(20 + len(metadata)) % 64)
    return (
        struct.pack("!4sBBHIQ", b"OTTR", version, kind, 0, len(metadata), length) + metadata + body
    )


def read(data, limit=wire.MAX_MESSAGE_BYTES):
    return list(wire.Reader(limit).feed(data))


@given(st.lists(values, min_size=1, max_size=3), st.data())
@settings(deadline=None)
def test_round_trip_under_any_chunking(sent, data):
    whole = b"".join(encode(value) for value in sent) + wire.END
    reader = wire.Reader()
    cuts = sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=8)))
    events = []
    for start, end in zip([0, *cuts], [*cuts, len(whole)], strict=True):
        events += reader.feed(whole[start:end])
    *got, end = events
    assert isinstance(end, wire.End)
    assert all(same(value, event.value) for value, event in zip(sent, got, strict=True))


def test_byte_by_byte():
    sent = {"a": np.arange(50.0), "b": [b"123", np.ones((2, 2), bool)]}
    reader = wire.Reader()
    events = [event for byte in encode(sent) for event in reader.feed(bytes([byte]))]
    assert [same(sent, event.value) for event in events] == [True]


def test_large_arrays_are_received_into_their_own_memory():
    sent = np.arange(1_000_000)
    reader, data = wire.Reader(), memoryview(encode(sent))
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
    assert event.value.flags.owndata
    assert event.value.flags.writeable


def test_buffers_are_aligned():
    packed = pack([np.ones(3, np.uint8), np.ones(5), b"x"])
    parts = wire.message(packed, message_id="m", reply_to=None, made=0, sent=0)
    offset, starts = 0, []
    for part in parts:
        if isinstance(part, memoryview):
            starts.append(offset % wire.ALIGN)
        offset += len(part)
    assert starts == [0, 0, 0]


def test_all_that_a_message_says():
    data = encode("x", message_id="a:7", reply_to="b:1", made=10.25, sent=11.5)
    (event,) = read(data)
    assert (event.id, event.reply_to, event.made, event.sent) == ("a:7", "b:1", 10.25, 11.5)
    assert event.size_bytes == len(
        encode("x", message_id="a:7", reply_to="b:1", made=10.25, sent=11.5)
    )


def test_handshake():
    said = wire.hello("a.x>b.y", "y", "a") + wire.accept(1000) + wire.refuse("no") + wire.END
    assert read(said) == [
        wire.Hello(OTTER_WIRE_VERSION, "a.x>b.y", "y", "a"),
        wire.Accept(1000),
        wire.Refuse("no"),
        wire.End(),
    ]


def test_hello_and_refuse_of_another_version_are_read_so_that_it_can_be_told():
    fields = {"stream": "s", "input": "i", "from": "f"}
    assert read(raw(wire.HELLO, fields, version=99))[0].version == 99
    assert read(raw(wire.REFUSE, {"reason": "too old"}, version=99)) == [wire.Refuse("too old")]
    with pytest.raises(RemoteWireError, match="version 99"):
        read(raw(wire.ACCEPT, {"limit": 1}, version=99))


GOOD = {"id": "m", "re": None, "made": 1, "sent": 1, "b": [], "v": None}


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        raw(0, {}),
        raw(6, {}),
        raw(wire.HELLO, {}),
        raw(wire.HELLO, {"stream": "s" * 301, "input": "i", "from": "f"}),
        raw(wire.HELLO, {"stream": "", "input": "i", "from": "f"}),
        raw(wire.HELLO, {"stream": "s", "input": "i", "from": "f"}, b"body"),
        raw(wire.ACCEPT, {"limit": True}),
        raw(wire.MESSAGE, b"{"),
        raw(wire.MESSAGE, b"\xff"),
        raw(wire.MESSAGE, b"[" * 200_000),
        raw(wire.MESSAGE, b"[]"),
        raw(wire.MESSAGE, b'{"id":' + b"9" * 5000 + b"}"),
        raw(wire.MESSAGE, {}),
        *(raw(wire.MESSAGE, GOOD | {"id": bad}) for bad in (None, 1, "", "x" * 301)),
        *(raw(wire.MESSAGE, GOOD | {"re": bad}) for bad in (1, "", [])),
        *(raw(wire.MESSAGE, GOOD | {"made": bad}) for bad in (None, "1", True, float("nan"))),
        raw(wire.MESSAGE, GOOD | {"sent": 10**400}),
        *(raw(wire.MESSAGE, GOOD | {"b": bad}) for bad in (None, 1, [1], [["b", [], 1]])),
        raw(wire.MESSAGE, GOOD | {"b": [["b", [], 0]], "v": 1}),
        raw(wire.MESSAGE, GOOD | {"b": [["b", [], 0]] * 2}),
        raw(wire.MESSAGE, GOOD | {"b": [["a", [], "|u1", [0, 2**61, 2**61]]]}),
        raw(wire.MESSAGE, GOOD, b"more"),
        raw(wire.MESSAGE, GOOD | {"b": [["b", [], 5]]}, b"1234"),
        encode(b"x")[:8] + struct.pack("!IQ", 45, 1) + b" " * 46,
    ],
)  # fmt: skip
def test_what_the_protocol_forbids(data):
    reader = wire.Reader()
    with pytest.raises(RemoteWireError):
        list(reader.feed(data))
    with pytest.raises(RemoteWireError):
        reader.next_event()


@given(st.binary(max_size=400), st.data())
@settings(deadline=None, max_examples=300)
def test_hostile_bytes_give_nothing_but_wire_errors(noise, data):
    good = encode({"a": np.arange(9.0), "t": "text", "b": [b"1", None]}) + wire.END
    at = data.draw(st.integers(0, len(good)))
    cut = data.draw(st.integers(0, 40))
    for hostile in (noise, good[:at] + noise + good[at + cut :], good[:20] + noise):
        try:
            for event in wire.Reader(10_000).feed(hostile):
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


@given(json_values, entries, st.binary(max_size=80))
@settings(deadline=None, max_examples=300)
def test_hostile_metadata_gives_nothing_but_wire_errors(tree, buffers, body):
    data = raw(wire.MESSAGE, GOOD | {"v": tree, "b": buffers}, body)
    with suppress(RemoteWireError, MessageTooLarge):
        read(data)


def test_lengths_over_the_limit_are_refused_before_memory_is_taken():
    huge = [["a", [], "|u1", [2**29]]]
    for data in (
        raw(wire.MESSAGE, GOOD | {"b": huge}, body_length=2**29),
        struct.pack("!4sBBHIQ", b"OTTR", 1, wire.MESSAGE, 0, 2**32 - 1, 0),
        struct.pack("!4sBBHIQ", b"OTTR", 1, wire.MESSAGE, 0, 44, 2**64 - 1),
        struct.pack("!4sBBHIQ", b"OTTR", 1, wire.HELLO, 0, 5000, 0),
    ):
        tracemalloc.start()
        with pytest.raises(MessageTooLarge):
            read(data, limit=2**20)
        assert tracemalloc.get_traced_memory()[1] < 2**20
        tracemalloc.stop()


def test_the_sender_keeps_the_limits_too():
    with pytest.raises(MessageTooLarge):
        encode(np.zeros(1000), limit_bytes=8000)
    with pytest.raises(MessageTooLarge):
        encode(list(range(1_000_000)))


def test_a_message_that_may_not_be_yet_fails_by_its_preamble():
    with pytest.raises(RemoteWireError, match="none may be yet"):
        list(wire.Reader(messages=False).feed(encode("x")[:20]))


def test_messages_may_come_once_they_are_allowed():
    reader = wire.Reader(messages=False)
    events = []
    for event in reader.feed(wire.hello("s", "y", "a") + encode("x")):
        reader.allow_messages()
        events.append(type(event))
    assert events == [wire.Hello, wire.Incoming]
