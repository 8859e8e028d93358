"""Echoes as they come back, or whatever else comes."""

from __future__ import annotations

import os
import socket
import struct

import pytest
from helpers.descriptors import many

from otter_agent.reach import _TRIES, _echoes

IP_HEAD = b"\x45" + bytes(19)


def answer_all(theirs: socket.socket) -> None:
    for number in range(1, 1 + _TRIES):
        theirs.send(answer(number))


def answer(number: int) -> bytes:
    return IP_HEAD + struct.pack("!BBHHH", 0, 0, 0, os.getpid() & 0xFFFF, number)


def test_what_is_no_echo_is_passed_over():
    """The other machine says what it likes; the agent goes on."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with ours, theirs:
        for junk in (b"\x4f", IP_HEAD, IP_HEAD + bytes(7), b"\x4f" + bytes(30)):
            theirs.send(junk)
        answer_all(theirs)
        assert len(_echoes(ours, 56, 1)) == _TRIES


def test_in_a_process_with_many_files_open():
    """A thousand modules are that many, and agents in containers may have them."""
    with many():
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        with ours, theirs:
            answer_all(theirs)
            assert len(_echoes(ours, 56, 1)) == _TRIES


def test_who_stood_still_hears_what_came_meanwhile(monkeypatch):
    """On a machine that stalls for a second the other one doesn't seem gone."""
    clock = iter(range(1000))
    monkeypatch.setattr("otter_agent.reach.time.monotonic", lambda: float(next(clock)))
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with ours, theirs:
        theirs.send(IP_HEAD + bytes(8))  # somebody else's
        answer_all(theirs)
        assert len(_echoes(ours, 56, 1)) == _TRIES


def test_who_sends_without_end_is_not_heard_out(monkeypatch):
    clock = iter(range(1000))
    monkeypatch.setattr("otter_agent.reach.time.monotonic", lambda: float(next(clock)))
    monkeypatch.setattr("otter_agent.reach._LATE", 3)
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with ours, theirs:
        for _ in range(11):
            theirs.send(IP_HEAD + bytes(8))
        assert _echoes(ours, 56, 1) == []
        ours.setblocking(False)
        assert len(ours.recv(100)) == 28, (
            "the last two are left: three were heard for each of three"
        )


class Neighbour:
    """A socket to one whose address isn't known yet: what is sent first is lost."""

    def __init__(self, ours: socket.socket, theirs: socket.socket, lost: int) -> None:
        self._theirs, self._lost = theirs, lost
        self.family, self.type = ours.family, ours.type
        self.fileno, self.recv = ours.fileno, ours.recv

    def send(self, packet: bytes) -> None:
        (number,) = struct.unpack_from("!H", packet, 6)
        if number > self._lost:
            self._theirs.send(answer(number))


@pytest.mark.parametrize(("lost", "heard"), [(2, 3), (3, 0)])
def test_a_neighbour_whose_address_is_asked_for_twice_is_there(monkeypatch, lost, heard):
    """The kernel asks once a second, and two pings are over by then."""
    clock = iter(range(1000))
    monkeypatch.setattr("otter_agent.reach.time.monotonic", lambda: float(next(clock)))
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with ours, theirs:
        assert len(_echoes(Neighbour(ours, theirs, lost), 56, 1)) == heard
