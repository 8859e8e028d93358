"""Echoes as they come back, or whatever else comes."""

from __future__ import annotations

import os
import socket
import struct

from helpers.descriptors import many

from otter_agent.reach import _TRIES, _echoes

IP_HEAD = b"\x45" + bytes(19)


def test_what_is_no_echo_is_passed_over():
    """The other machine says what it likes; the agent goes on."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with ours, theirs:
        for junk in (b"\x4f", IP_HEAD, IP_HEAD + bytes(7), b"\x4f" + bytes(30)):
            theirs.send(junk)
        for number in range(1, 1 + _TRIES):
            theirs.send(IP_HEAD + struct.pack("!BBHHH", 0, 0, 0, os.getpid() & 0xFFFF, number))
        assert len(_echoes(ours, 56, 1)) == _TRIES


def test_in_a_process_with_many_files_open():
    """A thousand modules are that many, and agents in containers may have them."""
    with many():
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        with ours, theirs:
            for number in range(1, 1 + _TRIES):
                theirs.send(IP_HEAD + struct.pack("!BBHHH", 0, 0, 0, os.getpid() & 0xFFFF, number))
            assert len(_echoes(ours, 56, 1)) == _TRIES
