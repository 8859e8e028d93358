"""Each value by itself: what no link can have is told, what only lacks its company isn't."""

from __future__ import annotations

import math

import pytest

from net.links.possible import impossible

GOOD = {
    "delay_s": 0.02,
    "jitter_s": 5.0,
    "jitter_distribution": "table",
    "jitter_table": (0.0, 1.0),
    "jitter_correlation": 0.5,
    "loss_ratio": 1.0,
    "loss_correlation": 0.5,
    "loss_gilbert": (0.1, 0.2, 0.3, 0.4),
    "loss_markov": (0.1, 0.2, 0.3, 0.4, 0.5),
    "rate_bps": 1e6,
    "overhead_bytes": 38,
    "queue_s": 0.05,
    "queue_bytes": 1000,
    "queue_packets": 10,
    "queue_discipline": "codel",
    "ecn": True,
    "duplicate_ratio": 0.1,
    "corrupt_ratio": 0.1,
    "reorder_ratio": 0.1,
    "reorder_correlation": 0.1,
    "slot_s": (0.01, 0.02),
    "slot_bytes": 1500,
    "up": False,
    "medium": "gnb1",
    "medium_weight": 2.0,
}


def test_what_goes_only_with_others_is_possible() -> None:
    assert impossible(GOOD) == {}
    assert impossible({"jitter_distribution": "pareto", "jitter_s": None}) == {}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("delay_s", -1.0), ("delay_s", math.nan), ("jitter_s", -0.1), ("jitter_s", 3601.0),
        ("loss_ratio", 1.01), ("loss_gilbert", (0.1, 2.0, 0.0, 0.0)), ("rate_bps", 0.0),
        ("rate_bps", 2.0**60), ("queue_packets", 0), ("slot_s", (2.0, 1.0)), ("slot_bytes", 0),
        ("slot_bytes", 10**400),
        ("medium_weight", -1.0), ("reorder_correlation", 7.0), ("jitter_table", (1.0,)),
    ],
)  # fmt: skip
def test_what_no_link_can_have_is_told(name: str, value: object) -> None:
    assert impossible({name: value}).keys() == {name}
