"""What isn't a fragment survives the way there; everything else is refused, and nothing else."""

from __future__ import annotations

import json
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from net.datagram import control
from net.datagram.fragment import PREFIX
from net.errors import RemoteWireError

READERS = {
    2: control.read_hello,
    3: control.read_accept,
    4: control.read_refuse,
    5: control.read_report,
    6: control.read_probe,
    7: control.read_end,
    10: control.read_challenge,
}
names = st.text(min_size=1, max_size=100)
tokens = st.one_of(st.just(b""), st.binary(min_size=8, max_size=8))
u32, u64 = st.integers(0, 2**32 - 1), st.integers(0, 2**64 - 1)


@pytest.mark.slow
@given(names, names, names, st.floats(0.001, 60), st.booleans(), st.booleans(), u64, tokens)
def test_hello(stream, name, sender, deadline_s, partial, retransmit, session, token):
    greeting = control.Greeting(2, stream, name, sender, deadline_s, partial, retransmit, token)
    data = control.hello(session, greeting, 1472)
    assert len(data) >= 1472
    assert control.read_prefix(data) == (2, session)
    assert control.read_hello(data) == greeting


@pytest.mark.parametrize("token", ["00", "00" * 9, "xx" * 8, 5, None, ["00" * 8]])
def test_a_token_that_is_none_is_refused(token):
    greeting = control.Greeting(2, "s", "y", "a", 1.0, False, True, bytes(8))
    said = control.hello(1, greeting, 0)
    fields = json.loads(said[14:])
    damaged = json.dumps({**fields, "token": token}).encode()
    with pytest.raises(RemoteWireError, match="token"):
        control.read_hello(said[:12] + struct.pack("!H", len(damaged)) + damaged)


def test_accept_refuse_and_challenge():
    assert control.read_challenge(control.challenge(9, b"12345678", 1472)) == (b"12345678", 1472)
    accepted = control.Accepted(1, 2, 3)
    assert control.read_accept(control.accept(9, accepted)) == accepted
    assert control.read_refuse(control.refuse(9, "no")) == "no"


entries = st.builds(control.Missing, u64, u32, st.binary(max_size=50))
reports = st.builds(
    control.Report, u32, u64, u64, u64, u32, u32, u32, u64, u32, st.binary(max_size=50),
    st.lists(entries, max_size=5),
)  # fmt: skip


@pytest.mark.slow
@given(reports)
def test_report(report):
    assert control.read_report(control.report(1, report)) == report


def test_probe_and_end():
    assert control.read_probe(control.probe(1, 17, 4)) == (17, 4)
    assert control.read_end(control.end(1, 2**40)) == 2**40


@pytest.mark.slow
@given(st.binary(max_size=300), st.sampled_from(sorted(READERS)))
def test_whatever_comes_is_read_or_refused(data, kind):
    for candidate in (data, PREFIX.pack(b"OD", 1, kind, 7) + data):
        try:
            control.read_prefix(candidate)
            READERS[kind](candidate)
        except RemoteWireError:
            continue


@pytest.mark.slow
@given(st.data())
def test_a_report_that_was_damaged_is_read_or_refused(data):
    report = control.Report(1, 2, 2, 3, 4, 5, 6, 7, 8, b"\x0f", [control.Missing(9, 3, b"\x80")])
    damaged = bytearray(control.report(1, report))
    for _ in range(data.draw(st.integers(1, 4))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    try:
        control.read_prefix(bytes(damaged))
        control.read_report(bytes(damaged))
    except RemoteWireError:
        pass


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (b'{"wire":2}', "deadline"),
        (b'{"wire":2,"deadline":1e9,"stream":"s","input":"i","from":"f"}', "deadline of"),
        (b'{"wire":2,"deadline":1,"stream":"","input":"i","from":"f"}', "'stream'"),
        (b"[" * 2000, "JSON"),
        (b"{", "JSON"),
        (b"3", "no object"),
    ],
)
def test_the_error_says_what_is_wrong(text, why):
    data = PREFIX.pack(b"OD", 1, 2, 7) + len(text).to_bytes(2, "big") + text
    with pytest.raises(RemoteWireError, match=why):
        control.read_hello(data)


@pytest.mark.parametrize(
    ("data", "why"),
    [(b"OD", "2 bytes"), (b"XX" + bytes(20), "isn't"), (b"OD\x09" + bytes(20), "version 9")],
)
def test_what_isnt_ours_is_named(data, why):
    with pytest.raises(RemoteWireError, match=why):
        control.read_prefix(data)
