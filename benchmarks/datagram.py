"""Streams over UDP: how much on loopback without loss, how soon arrays are whole on a lossy path.

Loopback: 1 MiB arrays in processes of their own, ours over datagrams beside our own streams over
TCP; the limit is a plain socket that sends as large datagrams as fast as a window of credit lets
it. The lossy path: `benchmarks.lossy` in the guest kernel of tests/kernel, 100 KiB arrays at
`delay 10ms loss 5%` each way at a stated 100 Mbit/s, with and without parity, and at a rate that is
found out, beside TCP.
"""

from __future__ import annotations

import json
import os
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from typing import Any

from benchmarks import lossy
from benchmarks.row import Row

RUNS = 5
MIB = 2**20
ARRAYS = 1000
LOSSY = 1000
RTT_S = 0.020
_GOAL_BPS = 3e9
_LOSSY_GOAL_S = 2 * RTT_S + 8 * 1.25 * 103_680 / lossy.RATE_BPS
"""Two round trips, and the time that an array with its headers and parity takes to leave."""
_LOSSY_GOAL = 0.999
_CREDIT = 16
_DATAGRAM = 60_000


def rows() -> list[Row]:
    """Loopback, turn by turn; then the lossy path, if there is a guest kernel."""
    kinds: dict[str, list[str]] = {
        "udp": ["--transport", "udp"],
        "udp, 1,500 bytes": ["--transport", "udp", "--mtu", "1500"],
        "tcp": ["--transport", "tcp"],
    }
    rates: dict[str, list[float]] = {name: [] for name in (*kinds, "limit")}
    lost = 0
    for _ in range(RUNS):
        for name, arguments in kinds.items():
            found = _loopback([*arguments, "--count", str(ARRAYS)])
            lost += ARRAYS - len(found["took_s"])
            rates[name].append(8 * found["bytes"] / found["span_s"])
        rates["limit"].append(_plain_socket())
    medians = {name: statistics.median(values) for name, values in rates.items()}
    made = [
        _rate_row("1 MiB arrays, loopback's own packets", medians["udp"], medians, lost),
        _rate_row(
            "1 MiB arrays, packets of 1,500 bytes", medians["udp, 1,500 bytes"], medians, lost
        ),
    ]
    return made + _lossy_rows()


def _rate_row(name: str, ours: float, medians: dict[str, float], lost: int) -> Row:
    return {
        "name": f"datagram.{name}",
        "unit": "bit/s",
        "better": "higher",
        "ours": ours,
        "peers": {"our own TCP": medians["tcp"]},
        "limit": medians["limit"],
        "goal": _GOAL_BPS,
        "n": RUNS,
        "note": f"{ARRAYS} arrays a run; {lost} of all lost",
    }


def _loopback(arguments: Sequence[str]) -> dict[str, Any]:
    program = [sys.executable, "-m", "benchmarks.exchange"]
    with subprocess.Popen(
        [*program, "recv", *arguments], stdout=subprocess.PIPE, text=True
    ) as receiver:
        assert receiver.stdout is not None
        port = int(receiver.stdout.readline())
        to = ["send", "--to", f"127.0.0.1:{port}"]
        subprocess.run(
            [*program, *to, *arguments], check=True, timeout=300, stdout=subprocess.DEVNULL
        )
        said, _ = receiver.communicate(timeout=60)
    found: dict[str, Any] = json.loads(said)
    return found


def _plain_socket() -> float:
    """Bit/s of blocking sockets in two processes, with at most `_CREDIT` datagrams under way."""
    here = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    here.bind(("127.0.0.1", 0))
    here.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8 * MIB)
    count = ARRAYS * MIB // _DATAGRAM
    child = os.fork()
    if child == 0:
        try:
            _receive_plain(here, count)
        finally:
            os._exit(0)
    with here, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.connect(here.getsockname())
        data, credit = bytes(_DATAGRAM), _CREDIT
        begin = time.perf_counter()
        for _ in range(count):
            if not credit:
                credit += int.from_bytes(sender.recv(4), "big")
            sender.send(data)
            credit -= 1
        os.waitpid(child, 0)
        return 8 * count * _DATAGRAM / (time.perf_counter() - begin)


def _receive_plain(opened: socket.socket, count: int) -> None:
    buffer = bytearray(65536)
    for i in range(1, count + 1):
        _, peer = opened.recvfrom_into(buffer)
        if i % (_CREDIT // 2) == 0:
            opened.sendto((_CREDIT // 2).to_bytes(4, "big"), peer)


def _lossy_rows() -> list[Row]:
    """None where there is no guest kernel."""
    arguments = ["--bytes", str(100 * 1024), "--count", str(LOSSY), "--every", "0.04"]
    path = ["delay", "10ms", "loss", "5%"]
    inside = [sys.executable, "-m", "benchmarks.lossy", *path, "--", *arguments]
    guest = [sys.executable, "-m", "tests.kernel.guest", "--limit", "900", "--", *inside]
    done = subprocess.run(guest, check=False, stdout=subprocess.PIPE, text=True)
    if done.returncode == 125:
        print("datagram: no guest kernel, no lossy path", file=sys.stderr)
        return []
    done.check_returncode()
    found = json.loads(done.stdout.strip().splitlines()[-1])
    made = []
    for ratio in (0.5, 0.99, 0.999):
        at = {name: _quantile(end["took_s"], ratio) for name, end in found.items()}
        made.append(_lossy_row(f"p{100 * ratio:g}", at, found))
    return [
        *made,
        _soon_row("at a stated 100 Mbit/s", found["udp_fec"]["took_s"], _LOSSY_GOAL_S),
        _soon_row("rate found out", found["udp_found"]["took_s"], 2 * RTT_S),
    ]


def _soon_row(name: str, took_s: list[float], goal_s: float) -> Row:
    """How many of all that were sent came in time."""
    slowest = ", ".join(f"{1000 * each:.0f}" for each in sorted(took_s)[-3:])
    return {
        "name": f"datagram.100 KiB, delay 10ms loss 5%, 25 % parity, {name}, within {goal_s:.3g} s",
        "unit": "1",
        "better": "higher",
        "ours": sum(each <= goal_s for each in took_s) / LOSSY,
        "peers": {},
        "limit": 1.0,
        "goal": _LOSSY_GOAL,
        "n": LOSSY,
        "note": f"{len(took_s)} whole; the slowest took {slowest} ms; "
        f"the first {1000 * took_s[0]:.0f} ms",
    }


def _lossy_row(quantile: str, at: dict[str, float], found: dict[str, Any]) -> Row:
    whole = len(found["udp_fec"]["took_s"])
    soon = sum(took_s <= _LOSSY_GOAL_S for took_s in found["udp_fec"]["took_s"])
    return {
        "name": f"datagram.100 KiB, delay 10ms loss 5% each way, {quantile}",
        "unit": "s",
        "better": "lower",
        "ours": at["udp_fec"],
        "peers": {
            "without parity": at["udp"],
            "rate found out": at["udp_found"],
            "our own TCP": at["tcp"],
        },
        "limit": RTT_S / 2,
        "goal": _LOSSY_GOAL_S,
        "n": LOSSY,
        "note": f"25 % parity; {whole} arrays whole, {soon} within the goal; the guest has one CPU",
    }


def _quantile(values: list[float], ratio: float) -> float:
    return sorted(values)[min(len(values) - 1, int(ratio * len(values)))]
