"""How this machine reaches another one's address for data: how soon, how large packets.

ICMP echo, as `ping -M do` sends it: nothing has to listen over there. Blocking.
"""

from __future__ import annotations

import contextlib
import errno
import os
import select
import socket
import struct
import time

from otter_agent import api

_ECHO, _ECHO_REPLY = 8, 0
_IP_MTU_DISCOVER, _IP_PMTUDISC_DO = 10, 2
_IP_MTU = 14
"""Of the way to who a socket is connected to: ip(7)."""
_LEAST_MTU = 626
"""A mesh's own packets have 576 bytes at least, and a tunnel adds 50."""
_IP_ICMP_BYTES = 28
_ECHO_HEAD = struct.Struct("!BBHHH")
_TRIES = 5
_WAIT_S = 0.5
_SILENT = 2
"""So many may be lost before: the kernel asks for a neighbour's address once a second, and its
first question, too, may get lost."""
_LATE = 100
"""Packets that are looked at after that: whoever is there can send what he likes."""


def reach(local: str, remote: str, mtu: int) -> api.Reach:
    """Ask for a few echoes, small ones and some as large as the mesh's own packets get."""
    try:
        made = _opened()
    except PermissionError:
        why = "this agent may send no pings (net.ipv4.ping_group_range)"
        return api.Reach(error=why, tried=False)
    try:
        with made as sock:
            sock.setsockopt(socket.IPPROTO_IP, _IP_MTU_DISCOVER, _IP_PMTUDISC_DO)
            sock.bind((local, 0))
            sock.connect((remote, 0))
            small = _echoes(sock, 56, 1)
            large = small and _echoes(sock, mtu - _IP_ICMP_BYTES, 1 + _TRIES)
            narrow = 0 if large or not small else _narrow(sock, local, remote, mtu)
    except OSError as error:
        return api.Reach(error=(error.strerror or str(error)).lower())
    if not small:
        return api.Reach(error="no answer to a ping")
    return api.Reach(rtt_s=min(small), whole=bool(large), mtu=narrow)


def _narrow(sock: socket.socket, local: str, remote: str, mtu: int) -> int:
    """How large a packet may be, as the narrowest place on the way has answered; 0: none has."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as fresh:  # it has looked by now
        fresh.bind((local, 0))
        fresh.connect((remote, 9))
        told: int = fresh.getsockopt(socket.IPPROTO_IP, _IP_MTU)
    if not _LEAST_MTU <= told < mtu:
        return 0
    return told if _echoes(sock, told - _IP_ICMP_BYTES, 1 + 2 * _TRIES) else 0


def _opened() -> socket.socket:
    """For root of the machine, or for others where those may ping, too (icmp(7))."""
    try:
        return socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
    except PermissionError:
        return socket.socket(socket.AF_INET, socket.SOCK_DGRAM, socket.IPPROTO_ICMP)


def _echoes(sock: socket.socket, size: int, first: int) -> list[float]:
    """Times there and back, of those that came back."""
    times = []
    # Where it isn't raw the kernel chooses the identity, and hands on what has it.
    raw = (sock.family, sock.type) != (socket.AF_INET, socket.SOCK_DGRAM)
    identity = os.getpid() & 0xFFFF
    poll = select.poll()  # `select` takes no descriptors from 1024 on
    poll.register(sock, select.POLLIN)
    for number in range(first, first + _TRIES):
        packet = _packet(identity, number, size)
        begun = time.monotonic()
        with contextlib.suppress(OSError):  # too large: it never comes back
            sock.send(packet)
        late = 0
        while late < _LATE:
            left = begun + _WAIT_S - time.monotonic()
            late += left <= 0  # perhaps it was this thread that stood still: what is there is heard
            if not poll.poll(max(0.0, left) * 1000):
                break
            try:
                data = sock.recv(65535, socket.MSG_DONTWAIT)
            except BlockingIOError:
                continue  # it was damaged, and the kernel dropped it
            except OSError as error:
                if error.errno != errno.EMSGSIZE:
                    raise
                break  # the narrowest place on the way says so
            head = (data[0] & 0xF) * 4 if raw and data else 0
            if len(data) < head + _ECHO_HEAD.size:
                continue  # whoever is there can send what he likes
            kind, _, _, whose, which = _ECHO_HEAD.unpack_from(data, head)
            if (kind, which) == (_ECHO_REPLY, number) and (not raw or whose == identity):
                times.append(time.monotonic() - begun)
                break
        if not times and number - first >= _SILENT:
            break  # nobody is there
    return times


def _packet(identity: int, number: int, size: int) -> bytes:
    body = bytes(size & ~1)
    head = _ECHO_HEAD.pack(_ECHO, 0, 0, identity, number)
    return _ECHO_HEAD.pack(_ECHO, 0, _checksum(head + body), identity, number) + body


def _checksum(data: bytes) -> int:
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    total = (total >> 16) + (total & 0xFFFF)
    folded: int = ~(total + (total >> 16)) & 0xFFFF
    return folded
