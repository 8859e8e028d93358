"""Packets over a link, with the kernel's own time of their arrival.

A delay is from just before a packet is sent to that time: the sender's system call counts, and a
receiver that is late doesn't.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import random
import socket
import struct
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.helpers.link_bench import Link

HEADERS = 28
PORT = 4000
UDP_SEGMENT, _SO_TIMESTAMPNS = 103, 35
_ON_S = 0.1
"""The kernel begins to stamp what arrives a moment after it was asked to; what it hasn't stamped is
as late as it is read."""
_STAMP = struct.Struct("=qI")
_TIME = struct.Struct("=qq")


@contextlib.contextmanager
def stamped(links: Sequence[Link]) -> Iterator[None]:
    """Have the kernel tell when packets arrive at their second end."""
    with stamping([link.at_b for link in links]):
        yield


@contextlib.contextmanager
def stamping(receivers: Sequence[socket.socket]) -> Iterator[None]:
    """The same of any sockets."""
    for one in receivers:
        one.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
    time.sleep(_ON_S)
    try:
        yield
    finally:
        for one in receivers:
            one.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 0)


def probe(
    links: Sequence[Link], count: int, gap_s: float, longest_s: float, size: int = 128
) -> list[list[tuple[int, float, float]]]:
    """Single packets, a link after the other, so many on each; (number, sent, arrived) by link.

    Args:
        links: On which.
        count: How many on each.
        gap_s: Between two packets, mean; drawn at random, so that they fall on no beat of a timer.
        longest_s: After which none is under way any more.
        size: IP bytes of each.
    """
    chance = random.Random(1)
    filling = bytes(size - HEADERS - _STAMP.size)
    with stamped(links), first():
        for number in range(count):
            for link in links:
                sender, _, address = link.ends(link.there)
                sender.sendto(_STAMP.pack(time.time_ns(), number) + filling, (address, PORT))
                time.sleep(gap_s * chance.uniform(0.5, 1.5))
        time.sleep(longest_s + 0.2)
        return [arrived(link) for link in links]


def arrived(link: Link) -> list[tuple[int, float, float]]:
    """(number, sent, arrived) of what waits at the second end."""
    found = []
    with contextlib.suppress(BlockingIOError):
        while True:
            data, extra, _, _ = link.at_b.recvmsg(2048, 256)
            seconds, nanoseconds = _TIME.unpack(extra[0][2])
            sent, number = _STAMP.unpack_from(data)
            found.append((number, sent / 1e9, seconds + nanoseconds / 1e9))
    return found


def train(link: Link, numbers: range, size: int, together: int) -> None:
    """Numbered packets as fast as they can be sent; the kernel cuts `together` of them apart."""
    sender, _, address = link.ends(link.there)
    sender.setblocking(True)
    payload = size - HEADERS
    sender.setsockopt(socket.IPPROTO_UDP, UDP_SEGMENT, payload if together > 1 else 0)
    filling = bytes(payload - _STAMP.size)
    for start in range(numbers.start, numbers.stop, together):
        now = time.time_ns()
        part = range(start, min(numbers.stop, start + together))
        data = b"".join(_STAMP.pack(now, number) + filling for number in part)
        sender.sendto(data, (address, PORT))
    sender.setsockopt(socket.IPPROTO_UDP, UDP_SEGMENT, 0)
    sender.setblocking(False)


@contextlib.contextmanager
def first() -> Iterator[None]:
    """Run before ordinary processes: a sender that has to wait for its turn looks like a delay."""
    with contextlib.suppress(OSError):
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(5))
    try:
        yield
    finally:
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))


@contextlib.contextmanager
def busy_cores() -> Iterator[None]:
    """As many processes that do nothing but compute as there are cores."""
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=_compute, daemon=True) for _ in os.sched_getaffinity(0)]
    for worker in workers:
        worker.start()
    time.sleep(0.5)
    try:
        yield
    finally:
        for worker in workers:
            worker.kill()
            worker.join()


def _compute() -> None:
    number = 0
    while True:
        number += 1


def cpu_s(pid: int) -> float:
    """Seconds that a process's only thread has run (/proc/PID/schedstat)."""
    return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) / 1e9
