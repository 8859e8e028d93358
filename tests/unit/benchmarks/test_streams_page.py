"""The page of streams' speed: figures, verdicts, what wasn't measured, whether to believe it."""

from __future__ import annotations

from benchmarks.machine import Description
from benchmarks.row import Row
from benchmarks.streams_page import text

HERE: Description = {
    "cpu": "A", "cores": 2, "memory_bytes": 2**33, "kernel": "6", "os": "B", "python": "3",
    "load": [0.1, 0.2, 0.3], "used": 0.1,
}  # fmt: skip
ROW: Row = {
    "name": "handed over", "unit": "s", "better": "lower", "ours": 0.00027,
    "peers": {"tcp": 0.0062}, "limit": None, "goal": 0.0002, "n": 5, "note": "load beside",
}  # fmt: skip


def test_a_row_has_its_figures_its_verdict_and_its_reason():
    page = text(HERE, {"shared-memory": [ROW]}, {})
    assert "## Shared memory\n" in page
    assert "| handed over | 270 µs | 200 µs | MISSED | tcp 6.2 ms |  | 5 | load beside |\n" in page
    assert "busy" not in page


def test_what_was_not_measured_and_a_busy_machine_are_said():
    page = text({**HERE, "used": 1.0}, {"datagram": []}, {"datagram": "no guest kernel"})
    assert "No figures: no guest kernel\n" in page
    assert "**The machine was busy with other work" in page
