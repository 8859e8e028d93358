"""How many threads a module computes with, by its budget."""

from __future__ import annotations

import pytest

from otter_agent.runtimes.base import threads_of


@pytest.mark.parametrize(
    ("cores", "threads"),
    [((), 1), ((None, None), 1), ((0.25, None), 1), ((None, 4.0), 4), ((2.9, 4.0), 2),
     ((3.0, 1.5), 1)],
)  # fmt: skip
def test_threads_are_the_whole_cores_of_the_smallest_budget(
    cores: tuple[float | None, ...], threads: int
) -> None:
    assert threads_of(*cores) == threads
