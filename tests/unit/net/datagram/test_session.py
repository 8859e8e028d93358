"""Both ends of a session over made-up paths, in virtual time; every run replays bit for bit."""

from __future__ import annotations

import functools
import struct
from contextlib import suppress

import numpy as np
import pytest
from helpers.datagrams import GREETING, Path, Way, content, datagrams, random_loss
from hypothesis import given, settings
from hypothesis import strategies as st

from net.datagram import control
from net.datagram.options import MAX_RETAINED_BYTES, Options
from net.datagram.receiving import Receiving
from net.datagram.sending import DEAD_S, KEEP_ALIVE_S, Sending, State
from net.errors import LocalWireError, MessageTooLarge, RemoteWireError

pytestmark = pytest.mark.slow

RTT_S = 0.02


def lossy(ratio: float = 0.05) -> dict[str, Way]:
    return {
        "there": Way(lose=random_loss(ratio, 1)),
        "back": Way(lose=random_loss(ratio, 2)),
    }


def send_all(path: Path, count: int, nbytes: int, every_s: float) -> None:
    data = content(nbytes)
    path.open()
    for _ in range(count):
        path.send(data)
        path.run_for(every_s)
    path.run_for(path.options.deadline_s + 0.1)
    assert all(f.memory.tobytes() == data for f, _ in path.finished.values())


def test_a_clean_path_loses_and_repeats_nothing():
    path = Path()
    send_all(path, 40, 100 * 1024, 0.03)
    assert len(path.finished) == 40
    assert path.sender.counters.retransmitted == 0
    counters = path.receiver.counters.as_dict()
    assert counters.pop("messages") == 40
    assert counters.pop("datagrams") == 40 * 72
    assert counters.pop("bytes") == path.sender.counters.bytes
    assert not any(counters.values())


def test_what_is_overtaken_is_counted_and_taken():
    """Another way that is 2 ms longer, for every tenth datagram."""
    path = Path(there=Way(detour_s=lambda number: 0.002 * (number % 10 == 9)))
    send_all(path, 10, 100 * 1024, 0.03)
    counters = path.receiver.counters
    assert len(path.finished) == 10
    assert 40 <= counters.reordered <= 72 < counters.datagrams
    assert (counters.missing, counters.lost, counters.refused) == (0, 0, 0)


def test_parity_makes_nearly_all_arrays_complete_within_two_round_trips():
    """The stated goal: 5 % loss each way, 100 KiB, at most a quarter more; no kernel, 300 arrays.

    What is sent at is found out: after the first few arrays it takes less than a round trip.
    """
    path = Path(Options(fec_ratio=0.25), **lossy())
    send_all(path, 300, 100 * 1024, 0.03)
    sent = path.sender.counters
    assert sent.parity <= 0.25 * (sent.datagrams - sent.parity - sent.retransmitted)
    assert len(path.finished) == 300
    assert sum(t <= 2 * RTT_S for t in path.times_s()) >= 299
    assert path.receiver.counters.recovered > 600


def test_without_parity_what_is_lost_is_sent_again_within_the_deadline():
    path = Path(Options(deadline_s=1.0), **lossy())
    send_all(path, 100, 100 * 1024, 0.05)
    assert len(path.finished) == 100
    assert path.sender.counters.retransmitted >= 300
    assert path.sender.counters.retransmitted < 600  # about what was lost, not all over again


def test_without_either_what_is_hit_is_lost_and_said_to_be():
    path = Path(Options(retransmit=False, deadline_s=0.2), **lossy())
    send_all(path, 200, 10_000, 0.01)
    lost = 200 - len(path.finished)
    assert 30 < lost < 120
    assert path.receiver.counters.lost == path.sender.counters.lost == lost
    assert path.sender.counters.retransmitted == 0


def test_partly_when_asked_for():
    path = Path(Options(retransmit=False, partial=True, deadline_s=0.1), **lossy())
    data = content(100_000)
    path.open()
    for _ in range(20):
        path.send(data)
        path.run_for(0.1)
    path.run_for(0.5)
    assert len(path.finished) == 20
    partly = [f for f, _ in path.finished.values() if f.missing]
    assert len(partly) > 10
    for finished in partly:
        wanted = np.frombuffer(data, np.uint8).copy()
        for start, stop in finished.missing:
            wanted[start:stop] = 0
        assert np.array_equal(finished.memory, wanted)


@pytest.mark.parametrize("rate_bps", [2e6, 20e6, 200e6])
def test_it_finds_the_rate_of_a_narrow_link_and_overflows_no_queue(rate_bps):
    path = Path(Options(), Way(rate_bps=rate_bps), Way(), window_bytes=2**20)
    path.open()
    data = content(50_000)
    count = max(60, int(rate_bps / 8 / 50_000))
    for _ in range(count):
        path.send(data)
        path.run_until(lambda: not path.sender.busy)
    path.run_for(3.0)
    assert len(path.finished) > 0.93 * count  # the first ones found out what the link is like
    assert [n for n in range(count // 4, count + 1) if n not in path.finished] == []
    took_s = max(at for _, at in path.finished.values()) - min(path.left.values())
    assert len(path.finished) * 50_000 * 8 / took_s > 0.7 * rate_bps


def test_a_stated_rate_is_kept():
    path = Path(Options(rate_bps=8e6), window_bytes=2**20)
    path.open()
    for _ in range(10):
        path.send(content(100_000))
    path.run_for(3.0)
    took_s = max(at for _, at in path.finished.values()) - min(path.left.values())
    assert 0.95 < 10 * 100_000 * 8 / took_s / 8e6 < 1.0


def test_more_is_never_under_way_than_the_window():
    path = Path(Options(rate_bps=1e9), Way(1e-4), Way(1e-4), window_bytes=50_000)
    path.open()
    for _ in range(20):
        path.send(content(100_000))
    path.back.lose = lambda data: True  # no word from the receiver
    path.run_for(0.03)
    assert 50_000 <= path.sender._rate.in_flight <= 50_000 + 65_536


def test_nothing_begins_while_the_queue_there_is_full():
    path = Path()
    path.open()
    path.send(content(1000))
    path.run_for(0.1)
    path.receiver.blocked = True
    path.receiver.report_now(path.now)
    path.run_for(0.1)
    path.send(content(1000))
    path.run_for(3 * DEAD_S)
    assert (len(path.finished), path.sender.busy) == (1, True)
    path.receiver.opened(path.now)
    path.back.lose = random_loss(0.5, 3)
    path.run_until(lambda: len(path.finished) == 2, 5.0)


def test_a_short_queue_there_is_no_reason_to_forget_what_has_begun():
    path = Path(Options(rate_bps=8e6))
    path.open()
    path.send(content(100_000))
    path.run_for(0.02)
    path.receiver.blocked = True
    path.run_for(1.0)
    assert len(path.finished) == 1


def test_the_end_is_said_when_all_is_done_with():
    path = Path(**lossy(0.3))
    path.open()
    for _ in range(5):
        path.send(content(20_000))
    path.run_until(lambda: not path.sender.busy)
    path.sender.finish(path.now)
    path.run_until(lambda: path.sender.state is State.ENDED, 20.0)
    assert len(path.finished) == 5
    assert path.receiver.ended


def test_an_idle_session_stays():
    path = Path()
    path.open()
    path.run_for(10 * DEAD_S)
    assert path.sender.state is State.OPEN
    assert path.there.passed < 12 * DEAD_S / KEEP_ALIVE_S


def test_silence_is_found_out_within_the_stated_time():
    path = Path()
    path.open()
    path.run_for(0.5)
    path.there.lose = path.back.lose = lambda data: True
    before = path.now
    path.run_until(lambda: path.sender.state is State.LOST, 60.0)
    assert path.now - before <= DEAD_S + 1.0


def test_hello_goes_on_until_it_is_heard_and_finds_what_passes():
    path = Path(there=Way(lose=lambda data: len(data) > 1300), mtu_bytes=9000)
    path.open()
    assert path.sender._size + 48 + 28 <= 1280
    path.send(content(10_000))
    path.run_for(1.0)
    assert len(path.finished) == 1


def test_of_a_message_that_the_receiver_gave_up_nothing_is_kept():
    path = Path(Options(deadline_s=0.1), **lossy(0.6))
    path.open()
    for _ in range(30):
        path.send(content(20_000))
        path.run_for(0.05)
    path.run_for(2.0)
    assert path.sender._kept_bytes == 0
    assert not path.sender._kept
    assert MAX_RETAINED_BYTES > 0


def test_too_large_is_said_before_anything_leaves():
    path = Path(limit_bytes=1000)
    path.open()
    with pytest.raises(MessageTooLarge):
        path.send(content(1001))


def test_a_path_that_narrows_costs_one_message():
    path = Path(mtu_bytes=9000)
    path.open()
    path.send(content(30_000))
    path.sender.narrow(1500)
    path.send(content(30_000, 1))
    path.run_for(2.0)
    assert [f.memory.tobytes() for f, _ in path.finished.values()] == [content(30_000, 1)]
    assert path.sender.counters.expired == 1


def hellos(sender, now):
    """Of what it says now: their tokens and sizes."""
    said = [bytes(part) for burst in sender.poll(now) for part in burst.buffers]
    return [(control.read_hello(each).token, len(each)) for each in said]


def test_a_challenge_is_answered_at_once_with_a_hello_of_the_size_that_came():
    sender = Sending(1, GREETING, Options(), 9000, 0.0)
    assert hellos(sender, 0.0) == [(b"", 8972)]
    assert hellos(sender, 0.04) == []
    sender.receive(control.challenge(1, b"12345678", 1252), 0.04)
    assert hellos(sender, 0.04) == [(b"12345678", 1252)]
    sender.receive(control.challenge(1, b"12345678", 1252), 0.05)  # of a repeated hello
    assert hellos(sender, 0.05) == []
    assert hellos(sender, 0.5) == [(b"12345678", 1252)]  # nothing came back
    sender.receive(control.challenge(1, b"87654321", 1252), 0.6)  # the other one is too old
    assert hellos(sender, 0.6) == [(b"87654321", 1252)]
    sender.receive(control.accept(1, control.Accepted(10**6, 10**6, 1252)), 0.7)
    assert sender.state is State.OPEN
    sender.receive(control.challenge(1, b"00000000", 1252), 0.7)
    assert sender.state is State.OPEN


def test_only_asked_in_the_right_state():
    sender = Sending(1, GREETING, Options(), 1500, 0.0)
    with pytest.raises(LocalWireError, match="greeting"):
        sender.submit([b"x"], 0.0)
    with pytest.raises(RemoteWireError, match="kind 2"):
        sender.receive(control.hello(1, GREETING, 600), 0.0)
    sender.receive(control.refuse(1, "not here"), 0.0)
    assert (sender.state, sender.reason) == (State.REFUSED, "not here")


@functools.cache
def real_datagrams() -> list[bytes]:
    """Of a message with parity."""
    path = Path(Options(fec_ratio=0.5))
    path.open()
    path.sender.submit([content(8000)], path.now)
    return [d for b in path.sender.poll(path.now + 1) for d in datagrams(b)]


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_a_receiver_survives_whatever_comes_in_its_session(data):
    """Datagrams of a real session, damaged, cut, mixed with made-up ones, in batches."""
    receiver = Receiving(7, GREETING, 2**20, 2**20, 0.0)
    real = real_datagrams()
    prefix = struct.pack("!2sBBQ", b"OD", 1, data.draw(st.sampled_from([1, 6, 7])), 7)
    now = 0.0
    for _ in range(data.draw(st.integers(1, 12))):
        made_up = prefix + data.draw(st.binary(max_size=80))
        one = bytearray(data.draw(st.sampled_from([*real, made_up])))
        for _ in range(data.draw(st.integers(0, 3))):
            one[data.draw(st.integers(0, len(one) - 1))] ^= data.draw(st.integers(1, 255))
        batch = bytes(one) * data.draw(st.sampled_from([1, 2, 9, 12]))
        segment = data.draw(st.sampled_from([len(one), 30, 1]))
        now += data.draw(st.floats(0, 0.5))
        receiver.receive(np.frombuffer(batch, np.uint8), segment, now)
        receiver.expire(now)
        assert sum(map(len, receiver.poll(now))) <= 8 * 1300


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 9), st.binary(max_size=120)), max_size=8))
def test_a_sender_survives_whatever_comes(datagrams_in):
    path = Path()
    path.open()
    path.send(content(20_000))
    now = path.now
    for kind, rest in datagrams_in:
        now += 0.01
        with suppress(RemoteWireError):
            path.sender.receive(struct.pack("!2sBBQ", b"OD", 1, kind, 7) + rest, now)
        path.sender.poll(now)
        path.sender.timer(now)
