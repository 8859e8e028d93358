"""What `ping` says."""

from __future__ import annotations

import re


def round_trip_s(said: str) -> float:
    """The shortest round trip."""
    found = re.search(r"(?:rtt|round-trip) min/avg/max(?:/mdev)? = ([0-9.]+)/", said)
    assert found, said
    return float(found[1]) / 1000


def answered(said: str) -> list[int]:
    """The numbers of the packets that were answered."""
    return [int(number) for number in re.findall(r"icmp_seq=(\d+) ttl", said)]


def received(said: str) -> int:
    """Answers that came."""
    found = re.search(r"([0-9]+) (?:packets )?received", said)
    assert found, said
    return int(found[1])
