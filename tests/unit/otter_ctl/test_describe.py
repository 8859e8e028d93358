"""Planned values in people's words."""

from __future__ import annotations

import pytest

from otter_ctl.planning.describe import quantity_text


@pytest.mark.parametrize(
    ("field", "value", "text"),
    [
        ("memory_bytes", 268435456, "256MiB"),
        ("forward.delay_s", 0.02, "20ms"),
        ("forward.rate_bps", 2e7, "20mbit"),
        ("reverse.loss_ratio", 0.005, "0.5%"),
        ("ready.within_s", 300.0, "5min"),
        ("read_bytes_per_s", 50_000_000, "50MB/s"),
        ("cpu", 0.5, ""),
        ("forward.queue_packets", 100, ""),
        ("memory_bytes", None, ""),
        ("env.TIMEOUT_s", "300", ""),
        ("gateway_s", True, ""),
    ],
)
def test_quantities(field, value, text):
    assert quantity_text(field, value) == text
