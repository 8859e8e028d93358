"""What the network between two machines does, measured by both: in seconds, with a few megabytes.

    who measures ── echo, five times ──► who answers       how long there and back
                 ── a train of packets ─►                  how fast they came in there
                 ◄─ a train of packets ──                  how fast they came in here

Packets come when the kernel says so, as who reads them may stand still. Trains go each way three
times, and the middle one counts: whoever else stands still falsifies one alone.
Who answers has a socket open for as long as that takes, `FOR_S` at most, and takes nothing in that
doesn't bear the key. All blocking. Must not know: meshes, HTTP.
"""

from __future__ import annotations

import contextlib
import hashlib
import socket
import statistics
import struct
import threading
import time
from collections.abc import Iterator
from typing import NamedTuple

from otter_agent import api, arrivals
from otter_agent.errors import AgentError
from otter_agent.network.buffers import widen_receiving

FOR_S = 5.0
MOST_BYTES = 4 << 20
"""Of a train."""
MOST_S = 0.1
"""For as long as a train is sent, however slow the way."""
ROUNDS = 3
"""Trains each way."""
_ROUNDS_S = 2.0
"""After so long no other round begins: who answers does so for `FOR_S`."""
_ECHOES = 5
_WAIT_S = 0.5
_AGAIN_S = 0.05
_QUIET_S = 0.25
"""After so long without a packet, a train is over."""
_TOGETHER = 16
_HEAD = struct.Struct("!B3xI8s")
_REPORT = struct.Struct("!dd")
_IP_UDP_BYTES = 28
_SOL_UDP, _UDP_SEGMENT, _UDP_GRO = 17, 103, 104
_ECHO, _BACK, _TRAIN, _END, _REPORTED, _SEND, _BYE = range(1, 8)
_SIZE = struct.Struct("=H")
_BUFFER_BYTES = 1 << 22

Address = tuple[str, int]


class _Said(NamedTuple):
    kind: int
    number: int
    rest: bytes
    came_s: float
    """By `time.monotonic()`."""


class _Counted:
    """How fast a train comes in; what came first, at once, only starts the clock."""

    def __init__(self) -> None:
        self.first_s = self.last_s = 0.0
        self.bytes = 0

    def add(self, size: int, came_s: float) -> None:
        if self.first_s:
            self.bytes += size
        else:
            self.first_s = came_s
        self.last_s = came_s

    @property
    def rate_bps(self) -> float | None:
        took = self.last_s - self.first_s
        return self.bytes * 8 / took if took > 0 and self.bytes else None


class _End:
    """One end: makes datagrams with the key, and reads only such."""

    def __init__(self, sock: socket.socket, key: str, mtu: int) -> None:
        self._socket = sock
        self._key = bytes.fromhex(key)
        self._size = mtu - _IP_UDP_BYTES
        widen_receiving(sock, _BUFFER_BYTES)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _BUFFER_BYTES)
        arrivals.tell_times(sock)
        with contextlib.suppress(OSError):
            sock.setsockopt(_SOL_UDP, _UDP_GRO, 1)

    def packed(self, kind: int, number: int = 0, rest: bytes = b"") -> bytes:
        """A datagram."""
        words = bytes([kind]) + number.to_bytes(4, "big") + rest
        tag = hashlib.blake2b(words, key=self._key, digest_size=8).digest()
        return _HEAD.pack(kind, number, tag) + rest

    def tell(self, to: Address, kind: int, number: int = 0, rest: bytes = b"") -> None:
        """Send one; that it can't be sent shows as that none comes back."""
        with contextlib.suppress(OSError):
            self._socket.sendto(self.packed(kind, number, rest), to)

    def heard(self, within_s: float) -> Iterator[tuple[_Said, int, Address]]:
        """What comes in at once in that time, of who has the key, with its bytes of IP.

        Packets of a train that come in together are one.
        """
        self._socket.settimeout(max(1e-4, within_s))
        try:
            data, told, _, source = self._socket.recvmsg(1 << 16, 64 + arrivals.ROOM)
        except OSError:
            return
        came_s = _came_s(arrivals.time_of(told))
        step = next((int.from_bytes(v[:4], "little") for _, k, v in told if k == _UDP_GRO), 0)
        step = step or len(data) or 1
        for begin, end in self._runs(data, step):
            said = self._read(data[begin : min(begin + step, end)], came_s)
            if said is not None:
                packets = -(-(end - begin) // step)
                yield said, end - begin + packets * _IP_UDP_BYTES, source

    @staticmethod
    def _runs(data: bytes, step: int) -> Iterator[tuple[int, int]]:
        """Where each datagram is, of `step` bytes but perhaps the last; a train's are one."""
        begin = 0
        while begin < len(data):
            end = begin + step
            if data[begin] == _TRAIN:
                head = data[begin : begin + _HEAD.size]
                while data.startswith(head, end):
                    end += step
            yield begin, min(end, len(data))
            begin = end

    def _read(self, data: bytes, came_s: float) -> _Said | None:
        if len(data) < _HEAD.size:
            return None
        kind, number, _ = _HEAD.unpack_from(data)
        rest = b"" if kind == _TRAIN else data[_HEAD.size :]
        good = self.packed(kind, number, rest)[: _HEAD.size] == data[: _HEAD.size]
        return _Said(kind, number, rest, came_s) if good else None

    def send_train(self, to: Address, number: int) -> None:
        """As fast as it goes, for a short time; then say that this was it."""
        one = self.packed(_TRAIN, number).ljust(self._size, b"\0")
        row, aids = one * _TOGETHER, [(_SOL_UDP, _UDP_SEGMENT, _SIZE.pack(len(one)))]
        begun, sent = time.monotonic(), 0
        self._socket.settimeout(MOST_S)
        while sent < MOST_BYTES and time.monotonic() - begun < MOST_S:
            try:
                if aids:
                    self._socket.sendmsg([row], aids, 0, to)
                else:
                    self._socket.sendto(one, to)
            except TimeoutError:
                break
            except OSError:
                if not aids:
                    break
                aids = []
                continue
            sent += len(row) if aids else len(one)
        for _ in range(3):
            self.tell(to, _END, number)


def _came_s(told_ns: int) -> float:
    """When it came that has just been read, by a clock that nobody sets; 0: now."""
    now_s, late_ns = time.monotonic(), time.time_ns() - told_ns
    return now_s - max(0, late_ns) / 1e9 if told_ns else now_s


def take_part(asked: api.Probing) -> api.Measured:
    """Measure with another machine; or listen for some seconds, for who has the key: at which port.

    Raises:
        AgentError: The address is none of this machine's.
    """
    if asked.remote:
        return measure(asked.local, (asked.remote, asked.port), asked.key, asked.mtu)
    made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    try:
        made.bind((asked.local, 0))
    except OSError as error:
        made.close()
        why = f"udp {asked.local}: {(error.strerror or str(error)).lower()}"
        raise AgentError("bad-request", why) from error
    port: int = made.getsockname()[1]
    work = (made, asked.key, asked.mtu)
    name = f"underlay {asked.local}:{port}"
    threading.Thread(target=answer, args=work, name=name, daemon=True).start()
    return api.Measured(port=port)


def answer(sock: socket.socket, key: str, mtu: int, for_s: float = FOR_S) -> None:
    """Answer whoever has the key at a bound socket, until told that it is over; closes it."""
    with sock:
        end = _End(sock, key, mtu)
        until = time.monotonic() + for_s
        trains: dict[int, _Counted] = {}
        sent: set[int] = set()
        while (left := until - time.monotonic()) > 0:
            for said, size, source in end.heard(left):
                if said.kind == _BYE:
                    return
                if said.kind == _ECHO:
                    end.tell(source, _BACK, said.number)
                elif said.kind == _TRAIN:
                    trains.setdefault(said.number, _Counted()).add(size, said.came_s)
                elif said.kind == _END and said.number in trains:
                    rate = trains[said.number].rate_bps or 0.0
                    end.tell(source, _REPORTED, said.number, _REPORT.pack(rate, 0.0))
                elif said.kind == _SEND and said.number not in sent and len(sent) < ROUNDS:
                    sent.add(said.number)
                    end.send_train(source, said.number)


def measure(local: str, remote: Address, key: str, mtu: int) -> api.Measured:
    """Measure the way to who answers there, and back."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        try:
            sock.bind((local, 0))
        except OSError as error:
            return api.Measured(error=(error.strerror or str(error)).lower())
        end = _End(sock, key, mtu)
        begun, times = time.monotonic(), list[float]()
        for number in range(_ECHOES):
            if (took := _echo(end, remote, number)) is not None:
                times.append(took)
            elif number and not times:
                return api.Measured(error="no answer")
        forth: list[float | None] = []
        back: list[float | None] = []
        for number in range(ROUNDS):
            if number and time.monotonic() - begun > _ROUNDS_S:
                break
            end.send_train(remote, number)
            forth.append(_report(end, remote, number, min(times)))
            end.tell(remote, _SEND, number)
            back.append(_train(end, number, min(times)))
        end.tell(remote, _BYE)
        return api.Measured(rtt_s=min(times), forth_bps=_middle(forth), back_bps=_middle(back))


def _middle(rates_bps: list[float | None]) -> float | None:
    known = [rate for rate in rates_bps if rate is not None]
    return statistics.median_low(known) if known else None


def _lefts(until: float) -> Iterator[float]:
    """How long to listen still, again and again; once more when `until` is over, for no time.

    Perhaps it was this thread that stood still: what came meanwhile is heard.
    """
    while (left := until - time.monotonic()) > 0:
        yield left
    yield 0.0


def _echo(end: _End, remote: Address, number: int) -> float | None:
    begun = time.monotonic()
    end.tell(remote, _ECHO, number)
    for left in _lefts(begun + _WAIT_S):
        for said, _, _ in end.heard(left):
            if (said.kind, said.number) == (_BACK, number):
                return time.monotonic() - begun
    return None


def _report(end: _End, remote: Address, number: int, rtt_s: float) -> float | None:
    """What came in there; asked for again, as the train may have filled a queue on the way."""
    until = time.monotonic() + rtt_s + 2 * _WAIT_S
    for left in _lefts(until):
        for said, _, _ in end.heard(min(left, rtt_s + _AGAIN_S)):
            of_it = (said.kind, said.number) == (_REPORTED, number)
            if of_it and len(said.rest) == _REPORT.size:
                return float(_REPORT.unpack(said.rest)[0]) or None
        end.tell(remote, _END, number)
    return None


def _train(end: _End, number: int, rtt_s: float) -> float | None:
    counted = _Counted()
    until = time.monotonic() + rtt_s + _WAIT_S + MOST_S
    quiet_s = rtt_s + _WAIT_S
    while (left := min(until - time.monotonic(), quiet_s)) > 0:
        some = False
        for said, size, _ in end.heard(left):
            if (said.kind, said.number) == (_END, number):
                return counted.rate_bps
            if (said.kind, said.number) == (_TRAIN, number):
                counted.add(size, said.came_s)
                some, quiet_s = True, _QUIET_S
        if not some and counted.first_s:
            break
    return counted.rate_bps
