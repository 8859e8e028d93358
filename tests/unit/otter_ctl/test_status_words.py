"""What `status` says of limits: what is in force, and what was asked where that differs."""

from __future__ import annotations

import pytest

from otter_ctl.cli.status import _both


@pytest.mark.parametrize(
    ("in_force", "asked", "said"),
    [
        (0.5, 0.5, "0.5"),
        (None, None, "unlimited"),
        (0.5, None, "0.5 (unlimited)"),
        (None, 0.5, "unlimited (0.5)"),
        ("256MiB", "1GiB", "256MiB (1GiB)"),
    ],
)
def test_limits(in_force, asked, said):
    assert _both(in_force, asked) == said
