"""Two ends of a tunnel without sockets: what is said is lost, repeated, forged; ends restart."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otter_agent.tunnels import datagrams
from otter_agent.tunnels.session import KEEP_S, SILENT_S, WINDOW, Session, Window

KEY, OTHER_KEY = bytes(range(16)), bytes(16)
IP = b"\x45" + bytes(39)
A, B = ("10.0.0.1", 14790), ("10.0.0.2", 14790)


class Net:
    """Two ends, and what is under way between them."""

    def __init__(self, opens_a: bool = True, opens_b: bool = True) -> None:
        self.lives = random.Random(7)
        self.opens = {A: B if opens_a else None, B: A if opens_b else None}
        self.ends = {where: self.fresh(where) for where in (A, B)}
        self.said: list[tuple[tuple[str, int], tuple[str, int], bytes]] = []
        self.now = 0.0

    def fresh(self, where: tuple[str, int]) -> Session:
        return Session(KEY, 5, self.opens[where], self.lives.randbytes(16), first=where == A)

    def hand(self, source: tuple[str, int], to: tuple[str, int], data: bytes) -> bool:
        """One datagram arrives; whether it was a packet that is taken."""
        self.said.append((source, to, data))
        if to not in self.ends:
            return False
        view = memoryview(data)
        what = datagrams.kind_of(view)
        assert what is not None
        if what[0] == datagrams.PACKET:
            return bool(self.ends[to].taken([view]))
        answer = self.ends[to].greeted(view, source, self.now)
        if answer is not None:
            self.hand(to, source, answer)
        return False

    def greet(self) -> None:
        for where in (A, B):
            session = self.ends[where]
            said = session.due(self.now)
            if said is not None and session.address is not None:
                self.hand(where, session.address, said)

    def pass_by(self, seconds: float) -> None:
        for _ in range(round(seconds / 0.05)):
            self.now += 0.05
            self.greet()

    def packet(self, source: tuple[str, int]) -> bytes:
        [(size, parts)] = self.ends[source].sealed(memoryview(bytes(10) + IP))
        data = b"".join(map(bytes, parts))
        assert len(data) == size == len(IP) + datagrams.HEAD_BYTES
        return data


def test_two_ends_agree_and_packets_pass_once() -> None:
    net = Net()
    assert net.ends[A].sealed(memoryview(bytes(10) + IP)) == []
    net.pass_by(0.2)
    assert net.ends[A].joined
    assert net.ends[B].joined
    one = net.packet(A)
    assert net.hand(A, B, one)
    assert not net.hand(A, B, one)
    assert net.ends[B].replayed == 1
    assert net.hand(B, A, net.packet(B))
    assert not net.hand(B, A, one)  # what comes back to its sender is nothing
    assert net.ends[A].forged == 1


def test_only_the_end_that_reaches_the_other_opens() -> None:
    """B can't reach A at its address; it learns from A where A is, and again when that changes."""
    net = Net(opens_b=False)
    assert net.ends[B].due(0.0) is None
    net.pass_by(0.2)
    assert net.ends[B].address == A
    moved = ("192.0.2.9", 40000)
    net.ends[moved], net.opens[moved] = net.ends[A], B
    net.now += KEEP_S
    said = net.ends[A].due(net.now)
    assert said is not None
    net.hand(moved, B, said)
    assert net.ends[B].address == moved


def test_an_end_that_began_anew_is_believed_and_the_old_one_is_not() -> None:
    net = Net()
    net.pass_by(0.2)
    old_packet, old = net.packet(A), list(net.said)
    net.ends[A] = net.fresh(A)
    net.pass_by(0.5)
    assert net.ends[A].joined
    assert net.hand(A, B, net.packet(A))
    assert not net.hand(A, B, old_packet)
    for source, to, data in old:  # somebody who listened repeats all that was said before
        if to == B:
            assert not net.hand(source, B, data)
    net.pass_by(0.2)
    assert net.hand(A, B, net.packet(A))
    assert net.hand(B, A, net.packet(B))


def test_what_is_repeated_from_elsewhere_moves_nobody() -> None:
    net = Net()
    net.pass_by(1.0)
    for source, to, data in list(net.said):
        if source == A and to == B:
            net.hand(("198.51.100.1", 9), B, data)
    assert net.ends[B].address == A


def test_who_repeats_greetings_keeps_nobody_from_an_answer() -> None:
    """They are answered where they come from; the other end's own is, too."""
    net = Net()
    old = net.ends[A].due(0.0)
    fresh = net.fresh(A).due(0.0)
    assert old is not None
    assert fresh is not None
    for number in range(1, 100):
        net.ends[B].greeted(memoryview(old), ("198.51.100.1", number), 0.0)
    assert net.ends[B].greeted(memoryview(fresh), A, 0.0) is not None
    assert net.ends[B].greeted(memoryview(fresh), A, 0.01) is None
    answers = [
        net.ends[B].greeted(memoryview(old), ("198.51.100.2", number), 0.01)
        for number in range(1, 1000)
    ]
    assert len([answer for answer in answers if answer is not None]) < 300
    assert net.ends[B].greeted(memoryview(fresh), A, 0.1) is not None


def test_who_has_another_key_is_nobody() -> None:
    net = Net()
    stranger = Session(OTHER_KEY, 5, B, bytes(15) + b"s", first=True)
    said = stranger.due(0.0)
    assert said is not None
    assert net.ends[B].greeted(memoryview(said), A, 0.0) is None
    assert net.ends[B].forged == 1
    net.pass_by(0.2)
    forged = bytearray(net.packet(A))
    forged[-1] ^= 1
    assert not net.hand(A, B, bytes(forged))


def test_an_end_that_is_silent_is_greeted_as_at_first_and_comes_back() -> None:
    net = Net()
    net.pass_by(0.2)
    net.now += SILENT_S + 1
    assert net.ends[A].due(net.now) is not None
    assert not net.ends[A].joined
    net.pass_by(1.0)
    assert net.ends[A].joined
    assert net.hand(A, B, net.packet(A))


@pytest.mark.slow
@given(st.lists(st.integers(0, 3 * WINDOW), max_size=200))
def test_a_count_is_new_once(counts: list[int]) -> None:
    window, seen, top = Window(), set(), -1
    for count in counts:
        new = window.is_new(count)
        if count > top - WINDOW:
            assert new == (count not in seen)
        else:
            assert not new
        seen.add(count)
        top = max(top, count)
