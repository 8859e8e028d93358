"""Properties in people's words."""

from __future__ import annotations

from dataclasses import fields

from net.links.delivery import Delivery
from net.links.spec import LinkSpec
from net.links.words import link_text, name_of


def test_links() -> None:
    asked = {"delay_s": 0.02, "loss_ratio": 0.005, "queue_packets": 100}
    assert link_text(asked) == "delay 20ms, loss 0.5%, queue 100 packets"
    assert link_text({}) == ""


def test_what_is_taken_away_and_what_is_down() -> None:
    assert link_text({"rate_bps": None, "up": False}) == "down, no rate"


def test_every_property_has_words() -> None:
    everything = LinkSpec(
        delay_s=1.0, jitter_s=0.5, jitter_distribution="table", jitter_table=(-1.0, 1.0),
        jitter_correlation=0.5, loss_ratio=0.1, loss_correlation=0.2,
        loss_gilbert=(0.1, 0.5, 1.0, 0.0), loss_markov=(0.1, 0.2, 0.3, 0.4, 0.5), rate_bps=1e6,
        overhead_bytes=-4, queue_s=1.0, queue_bytes=1000, queue_packets=5,
        queue_discipline="red", ecn=True, duplicate_ratio=0.1, corrupt_ratio=0.1,
        reorder_ratio=0.1, reorder_correlation=0.1, slot_s=(0.01, 0.02), slot_bytes=3000, up=True,
        medium="gnb1", medium_weight=2.0, delivery=Delivery(trace="ab"),
    )  # fmt: skip
    words = link_text(everything.asked())
    assert words.count(", ") == len(fields(LinkSpec)) - 1
    assert "loss gilbert 10%/50%/100%/0%" in words
    assert "slot 10ms…20ms" in words
    assert all(name_of(f.name) for f in fields(LinkSpec))
