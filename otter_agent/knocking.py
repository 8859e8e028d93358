"""Whether a datagram gets to where tunnels come in: firewalls let pings in, and often nothing else.

    who knocks ── with the key, to the tunnel's port ──► who answers
               ◄──────────── from that port ────────────

Who answers reads what the kernel hands on behind its firewall (a raw socket) for some seconds, so
the port may be the kernel's VXLAN's, a carrier's, or nobody's. Neither of them takes notice: each
packet of VXLAN begins with a flag that isn't set, and a carrier's are longer. Trying blocks for
up to `_WAIT_S`; answering goes on in a thread of its own, which ends by itself.
Must not know: meshes, HTTP.
"""

from __future__ import annotations

import contextlib
import hashlib
import math
import select
import socket
import struct
import threading
import time

from otter_agent import api
from otter_agent.network.outside.filters import attach, datagrams

_TRY_S = 2.5
"""For so long it is tried anew: single packets may be lost, or resolving an address takes."""
_AGAIN_S = 0.1
_WAIT_S = 3.0
"""In all, with the last answers' way back: who answers is a thread of an agent that may be busy."""
_LATE = 100
"""Packets that are looked at after that: whoever is there can send what he likes."""
_KNOCK, _BACK = 0x01000000, 0x02000000
"""First words; VXLAN's have 0x08000000."""
_WORD = struct.Struct("!I")
_UDP = struct.Struct("!HHHH")
_MOST_BYTES = 256


def knock(asked: api.Knocking) -> api.Knocked:
    """Try all doors; or answer at ports of this machine from now on, `api.KNOCK_S` long.

    The first blocks until all have answered, or for 3 s; the second returns at once, and leaves
    a thread with a socket for each port. What fails is told in the answer, not raised.
    """
    try:
        if asked.doors:
            return _tried(asked)
        sockets = _opened(asked)
    except OSError as error:
        return api.Knocked(error=(error.strerror or str(error)).lower())
    work = (sockets, asked.key)
    name = f"knock {asked.local}"
    try:
        threading.Thread(target=_answer, args=work, name=name, daemon=True).start()
    except RuntimeError as error:  # there are too many already
        for made in sockets:
            made.close()
        return api.Knocked(error=str(error))
    return api.Knocked()


def _said(word: int, key: str) -> bytes:
    head = _WORD.pack(word)
    return head + hashlib.blake2b(head, key=bytes.fromhex(key), digest_size=8).digest()


def _tried(asked: api.Knocking) -> api.Knocked:
    knocking, back = _said(_KNOCK, asked.key), _said(_BACK, asked.key)
    doors = [(door.address, door.port) for door in asked.doors]
    left = set(doors)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as made:
        made.bind((asked.local, 0))
        now = due = time.monotonic()
        last, end = now + _TRY_S, now + _WAIT_S
        late = 0
        while left and late < _LATE:
            if now >= due and not late:
                for door in left:
                    with contextlib.suppress(OSError):  # no way there: nor does an answer come
                        made.sendto(knocking, door)
                due = due + _AGAIN_S if due + _AGAIN_S < last else math.inf
            made.settimeout(0 if late else max(1e-3, min(due, end) - now))
            try:
                data, source = made.recvfrom(_MOST_BYTES)
            except BlockingIOError:
                break
            except OSError:
                data = b""
            if data == back:
                left.discard(source)
            now = time.monotonic()
            # Perhaps it was this thread that stood still: what is there is heard.
            late += now >= end
    return api.Knocked(answered=tuple(door not in left for door in doors))


def _opened(asked: api.Knocking) -> dict[socket.socket, int]:
    """A socket for each port; what else comes to this machine wakes none of them."""
    found: dict[socket.socket, int] = {}
    try:
        for port in asked.ports:
            made = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_UDP)
            found[made] = port
            attach(made, datagrams(port, _KNOCK))
            made.bind((asked.local, 0))
    except OSError:
        for made in found:
            made.close()
        raise
    return found


def _answer(sockets: dict[socket.socket, int], key: str) -> None:
    knocking, back = _said(_KNOCK, key), _said(_BACK, key)
    until = time.monotonic() + api.KNOCK_S
    by_number = {made.fileno(): made for made in sockets}
    poll = select.poll()  # `select` takes no descriptors from 1024 on
    with contextlib.ExitStack() as stack:
        for made in sockets:
            stack.enter_context(made)
            poll.register(made, select.POLLIN)
        while (left := until - time.monotonic()) > 0:
            for number, _ in poll.poll(left * 1000):
                made = by_number[number]
                try:
                    data, (source, _) = made.recvfrom(_MOST_BYTES, socket.MSG_DONTWAIT)
                except OSError:  # it was damaged, and the kernel dropped it
                    continue
                udp = (data[0] & 0xF) * 4
                if data[udp + _UDP.size :] != knocking:
                    continue
                [port] = struct.unpack_from("!H", data, udp)
                # Checksum 0: none, which IPv4 allows.
                head = _UDP.pack(sockets[made], port, _UDP.size + len(back), 0)
                with contextlib.suppress(OSError):
                    made.sendto(head + back, (source, 0))
