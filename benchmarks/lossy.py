"""Two namespaces with a veth pair between them, and netem on both ends: a path that loses.

    python -m benchmarks.lossy delay 10ms loss 5% -- --bytes 102400 --count 1000 --every 0.04

Datagrams at a stated 100 Mbit/s without and with 25 % of parity, then at a rate that is found out;
then TCP.

Needs root and a kernel with sch_netem (the guest of tests/kernel has it); prints what both ends of
`benchmarks.exchange` found, as one JSON document. A netem right behind a socket sees what the
kernel is given at once as one packet (GSO), so datagrams are sent one by one here.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

RATE_BPS = 100e6
TCP = ("--streams", "20", "--every", "1.6")
"""Each array alone on its connection, which takes longer for it than datagrams for ten."""
_ENDS = ("10.79.0.1", "10.79.0.2")


@contextmanager
def path(netem: Sequence[str]) -> Iterator[tuple[str, str]]:
    """The namespaces' names; gone afterwards."""
    here = [f"otter-lossy-{os.getpid()}-{side}" for side in "ab"]
    try:
        for name in here:
            _run("ip", "netns", "add", name)
        a, b = here
        pair = ["type", "veth", "peer", "name", "eth0", "netns", b]
        _run("ip", "-n", a, "link", "add", "eth0", *pair)
        for name, address in zip(here, _ENDS, strict=True):
            _run("ip", "-n", name, "address", "add", f"{address}/24", "dev", "eth0")
            _run("ip", "-n", name, "link", "set", "eth0", "up")
            _run("ip", "-n", name, "link", "set", "lo", "up")
            queue = ["root", "netem", "limit", "10000", *netem]
            _run("tc", "-n", name, "qdisc", "add", "dev", "eth0", *queue)
        yield a, b
    finally:
        for name in here:
            subprocess.run(["ip", "netns", "del", name], check=False, stderr=subprocess.DEVNULL)


def exchange(
    ends: tuple[str, str], transport: str, arguments: Sequence[str], limit_s: float = 300.0
) -> dict[str, Any]:
    """One stream across the path: what the receiver found, and the sender's counters."""
    program = [sys.executable, "-m", "benchmarks.exchange"]
    inside = ["ip", "netns", "exec"]
    common = ["--transport", transport, *arguments]
    receiver = [*inside, ends[1], *program, "recv", "--at", _ENDS[1], *common]
    with subprocess.Popen(receiver, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            to = f"{_ENDS[1]}:{int(process.stdout.readline())}"
            sender = [*inside, ends[0], *program, "send", "--to", to, *common]
            if transport == "udp":
                sender.append("--single")
            sent = subprocess.run(
                sender, stdout=subprocess.PIPE, text=True, check=True, timeout=limit_s
            )
            said, _ = process.communicate(timeout=limit_s)
        finally:
            process.kill()
    found: dict[str, Any] = json.loads(said)
    return found | {"sender": json.loads(sent.stdout)}


def _run(*argv: str) -> None:
    subprocess.run(argv, check=True, stdin=subprocess.DEVNULL)


def main() -> None:
    """As above."""
    split = sys.argv.index("--")
    arguments = sys.argv[split + 1 :]
    with path(sys.argv[1:split]) as ends:
        rate = ["--rate", str(RATE_BPS)]
        found = {
            "udp": exchange(ends, "udp", [*arguments, *rate]),
            "udp_fec": exchange(ends, "udp", [*arguments, *rate, "--fec", "0.25"]),
            "udp_found": exchange(ends, "udp", [*arguments, "--fec", "0.25"]),
            "tcp": exchange(ends, "tcp", [*arguments, *TCP]),
        }
    print(json.dumps(found))


if __name__ == "__main__":
    main()
