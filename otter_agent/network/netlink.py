"""A rtnetlink socket that sends many messages at once and says precisely which one failed.

The kernel handles all messages of one `send` before the call returns, and always answers a failed
one; so only the last is asked to be acknowledged, and its answer ends the reading. A socket acts
on the network namespace in which its thread was when it was opened. Must not know: meshes, hosts.
"""

from __future__ import annotations

import errno
import fcntl
import os
import select
import socket
import struct
import time
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import NamedTuple, Self

from otter_agent.errors import NetworkError
from otter_agent.network import buffers, carrier, namespaces
from otter_agent.network.messages import Request

_HEADER = struct.Struct("=IHHII")  # nlmsghdr: length, type, flags, sequence, port
_I32 = struct.Struct("=i")
_ATTR = struct.Struct("=HH")

_NLMSG_ERROR, _NLMSG_DONE = 2, 3
_F_REQUEST, _F_ACK, _F_DUMP = 0x1, 0x4, 0x300
_F_DUMP_INTR, _F_CAPPED, _F_ACK_TLVS = 0x10, 0x100, 0x200
_SOL_NETLINK = 270
_ADD_MEMBERSHIP, _CAP_ACK, _EXT_ACK, _STRICT_CHECK = 1, 10, 11, 12
_SIOCGIFINDEX = 0x8933

_BATCH_BYTES = 60_000
"""Below the default send buffer of 208 KiB, which bounds one send (netlink_sendmsg)."""
_RECEIVE_BYTES = 1 << 18
_RECEIVE_BUFFER = 8 << 20
"""Room for one error per message of a batch; where less is had, batches are smaller."""
_ANSWER_ROOM = 1 << 14
"""Of one message to `push`: the kernel's answers hold what it was sent, at most."""
_ANSWER_BYTES = 1280
"""What an answer takes of it at most, the kernel's own accounting included."""

_PASSING = frozenset(
    {errno.EBUSY, errno.EAGAIN, errno.ENOMEM, errno.ENOBUFS, errno.EEXIST, errno.EINTR}
)
_DUMP_ATTEMPTS = 10


class Answer(NamedTuple):
    """What became of one request.

    Attributes:
        code: Error number; 0: it was carried out.
        words: The kernel's own explanation of an error, if it gave one.
        echo: Type and body of what it says that it has now.
    """

    code: int
    words: str
    echo: tuple[int, bytes] | None


class Netlink:
    """One rtnetlink socket in the calling thread's network namespace."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
        self._sequence = 0
        self._room = bytearray(_ANSWER_ROOM)
        buffers.widen_receiving(self._socket, _RECEIVE_BUFFER)
        room = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)
        self._most = max(1, room // _ANSWER_BYTES)
        for option in (_CAP_ACK, _EXT_ACK, _STRICT_CHECK):
            self._socket.setsockopt(_SOL_NETLINK, option, 1)

    def __enter__(self) -> Self:
        return self

    def index_of(self, device: str) -> int:
        """The index of a device; 0: there is none. Needs no message: some µs."""
        request = struct.pack("16si20x", device.encode()[:15], 0)
        try:
            answer = fcntl.ioctl(self._socket.fileno(), _SIOCGIFINDEX, request)
        except OSError as exc:
            if exc.errno == errno.ENODEV:
                return 0
            raise
        return int(struct.unpack_from("16si", answer)[1])

    def note_carrier(self, device: str) -> None:
        """Have a device that is up, at both ends, pass packets from now on (carrier.py)."""
        carrier.note(self._socket.fileno(), device)

    def close(self) -> None:
        """Let go of it."""
        self._socket.close()

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        self._socket.close()

    def send(
        self, requests: Sequence[Request], target: str, *, tolerate: frozenset[int] = frozenset()
    ) -> None:
        """Carry out `requests` in order, all of them even when one fails.

        Args:
            requests: What to do.
            target: Where, for the error's text: `mesh/host`.
            tolerate: Error numbers that mean "already so".

        Raises:
            NetworkError: The first that failed, with the kernel's own words.
        """
        start = 0
        while start < len(requests):
            start = self._send_some(requests, start, target, tolerate)

    def _send_some(
        self, requests: Sequence[Request], start: int, target: str, tolerate: frozenset[int]
    ) -> int:
        """Send from `start` as many as fit; returns where the next batch begins."""
        first = self._sequence + 1
        parts: list[bytes] = []
        size, stop = 0, start
        while stop < len(requests) and size < _BATCH_BYTES and stop - start < self._most:
            kind, flags, body, _ = requests[stop]
            length = 16 + len(body)
            size += length
            stop += 1
            self._sequence += 1
            last = stop == len(requests) or size >= _BATCH_BYTES or stop - start == self._most
            flags |= _F_REQUEST | _F_ACK if last else _F_REQUEST
            parts += (_HEADER.pack(length, kind, flags, self._sequence, 0), body)
        failed: tuple[Request, int, str] | None = None
        try:
            self._socket.send(b"".join(parts))
            for number, code, why in self._answers(self._sequence):
                if code and code not in tolerate and failed is None:
                    failed = requests[start + number - first], code, why
        except OSError as exc:
            raise _error(requests[start], exc.errno or 0, "", target) from exc
        if failed:
            raise _error(*failed, target)
        return stop

    def _answers(self, last: int) -> Iterator[tuple[int, int, str]]:
        """(sequence, error number, kernel's words) up to the answer to `last`."""
        number = 0
        while number != last:
            for kind, flags, number, body in _messages(self._socket.recv(_RECEIVE_BYTES)):
                if kind == _NLMSG_ERROR:
                    yield number, -_I32.unpack_from(body)[0], _words(flags, body)

    def exchange(self, requests: Sequence[Request]) -> list[Answer]:
        """Carry out `requests` in order and say of each what became of it; one `Answer` each.

        Raises:
            OSError: The socket itself failed.
        """
        answers: list[Answer] = []
        start = 0
        while start < len(requests):
            first, parts, size, stop = self._sequence + 1, list[bytes](), 0, start
            while stop < len(requests) and size < _BATCH_BYTES and stop - start < self._most:
                kind, flags, body, _ = requests[stop]
                self._sequence += 1
                flags |= _F_REQUEST | _F_ACK
                parts += (_HEADER.pack(16 + len(body), kind, flags, self._sequence, 0), body)
                parts.append(b"\0" * (-len(body) & 3))
                size += 16 + len(body)
                stop += 1
            self._socket.send(b"".join(parts))
            answers += self._one_each(first, stop - start)
            start = stop
        return answers

    def _one_each(self, first: int, count: int) -> list[Answer]:
        """What the kernel has then, where it was asked to tell, comes before it acknowledges."""
        found: list[Answer | None] = [None] * count
        echoes: dict[int, tuple[int, bytes]] = {}
        missing = count
        while missing:
            for kind, flags, number, body in _messages(self._socket.recv(_RECEIVE_BYTES)):
                if not first <= number < first + count:
                    continue
                if kind != _NLMSG_ERROR:
                    echoes[number] = kind, body
                    continue
                code = -_I32.unpack_from(body)[0]
                found[number - first] = Answer(code, _words(flags, body), echoes.get(number))
                missing -= 1
        return [answer for answer in found if answer is not None]

    def fileno(self) -> int:
        """Its descriptor, to wait for."""
        return self._socket.fileno()

    def push(self, data: bytes) -> None:
        """Send whole messages of which none asks to be acknowledged; all are carried out by then.

        What the kernel has to say of them can be read at once, too: `said`.

        Raises:
            OSError: The socket itself failed.
        """
        self._socket.send(data)

    def said(self) -> list[tuple[int, Answer]]:
        """Of messages pushed that failed, or asked what the kernel then has: number and answer.

        Raises:
            OSError: The socket itself failed.
        """
        found: list[tuple[int, Answer]] = []
        while True:
            try:
                size = self._socket.recv_into(self._room, 0, socket.MSG_DONTWAIT)
            except BlockingIOError:
                return found
            for kind, flags, number, body in _messages(bytes(self._room[:size])):
                if kind == _NLMSG_ERROR:
                    answer = Answer(-_I32.unpack_from(body)[0], _words(flags, body), None)
                else:
                    answer = Answer(0, "", (kind, body))
                found.append((number, answer))

    def dump(self, kind: int, body: bytes, target: str) -> list[bytes]:
        """All answers' bodies to a dump request, taken in one consistent moment."""
        try:
            for _ in range(_DUMP_ATTEMPTS):
                found = self._dump(kind, body, target)
                if found is not None:
                    return found
        except OSError as exc:
            raise _error(_listing(kind, body), exc.errno or 0, "", target) from exc
        raise _error(_listing(kind, body), errno.EBUSY, "it keeps changing", target)

    def _dump(self, kind: int, body: bytes, target: str) -> list[bytes] | None:
        """None: something changed meanwhile, ask again."""
        self._sequence += 1
        header = _HEADER.pack(16 + len(body), kind, _F_REQUEST | _F_DUMP, self._sequence, 0)
        self._socket.send(header + body)
        found: list[bytes] = []
        changed = False
        while True:
            for got, flags, number, content in _messages(self._socket.recv(_RECEIVE_BYTES)):
                if number != self._sequence:
                    continue
                changed = changed or bool(flags & _F_DUMP_INTR)
                if got == _NLMSG_DONE:
                    return None if changed else found
                if got == _NLMSG_ERROR:
                    code = -_I32.unpack_from(content)[0]
                    raise _error(_listing(kind, body), code, _words(flags, content), target)
                found.append(content)

    def subscribe(self, *groups: int) -> None:
        """Receive the events of multicast groups (RTNLGRP_…)."""
        self._socket.bind((0, 0))  # an unbound one has port 0, the kernel's own, and gets nothing
        for group in groups:
            self._socket.setsockopt(_SOL_NETLINK, _ADD_MEMBERSHIP, group)

    def pending(self) -> bool:
        """Whether there were events since the last call; they are thrown away."""
        found = False
        while True:
            try:
                self._socket.recv(_RECEIVE_BYTES, socket.MSG_DONTWAIT)
            except BlockingIOError:
                return found
            except OSError as exc:
                if exc.errno != errno.ENOBUFS:  # there were so many that some were lost
                    raise
            found = True

    def events(self, deadline: float) -> list[tuple[int, bytes]]:
        """Wait for events: (message type, body); empty when `deadline` (monotonic) has passed."""
        poll = select.poll()  # not select(): it refuses descriptors over 1023
        poll.register(self._socket, select.POLLIN)
        if not poll.poll(max(0.0, deadline - time.monotonic()) * 1000):
            return []
        return [(kind, body) for kind, _, _, body in _messages(self._socket.recv(_RECEIVE_BYTES))]


def message(number: int, kind: int, flags: int, body: bytes) -> bytes:
    """A whole message for `push`, with a number of one's own."""
    header = _HEADER.pack(16 + len(body), kind, flags | _F_REQUEST, number, 0)
    return header + body + b"\0" * (-len(body) & 3)


def _listing(kind: int, body: bytes) -> Request:
    return Request(kind, 0, body, "list devices, addresses or routes")


def _messages(data: bytes) -> Iterator[tuple[int, int, int, bytes]]:
    """(type, flags, sequence, body) of each message in a datagram."""
    start = 0
    while start + 16 <= len(data):
        length, kind, flags, number, _ = _HEADER.unpack_from(data, start)
        yield kind, flags, number, data[start + 16 : start + length]
        start += length + 3 & ~3


def _words(flags: int, body: bytes) -> str:
    """The kernel's explanation in an error: NLMSGERR_ATTR_MSG, where there is one."""
    if not flags & _F_ACK_TLVS:
        return ""
    start = 20  # the error number and the failed message's header
    if not flags & _F_CAPPED:
        start = 4 + (_HEADER.unpack_from(body, 4)[0] + 3 & ~3)
    while start + 4 <= len(body):
        length, key = _ATTR.unpack_from(body, start)
        if key == 1:
            return body[start + 4 : start + length].rstrip(b"\0").decode(errors="replace")
        start += max(4, length + 3 & ~3)
    return ""


def refused(request: Request, answer: Answer, target: str, driver: str = "network") -> NetworkError:
    """The error for a request that the kernel refused."""
    return _error(request, answer.code, answer.words, target, driver)


def _error(
    request: Request, code: int, words: str, target: str, driver: str = "network"
) -> NetworkError:
    name = errno.errorcode.get(code, str(code))
    why = f"{words} ({name})" if words else f"{os.strerror(code)} ({name})"
    error = NetworkError(
        driver, str(request.op), target, why, recoverable=code in _PASSING,
        hint=namespaces.hint_for(code),
    )  # fmt: skip
    error.errno = code
    return error
