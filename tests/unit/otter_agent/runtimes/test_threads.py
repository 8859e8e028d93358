"""How many threads a module computes with, by its budget."""

from __future__ import annotations

import pytest

from otter_agent.runtimes.base import thread_variables, threads_of


@pytest.mark.parametrize(
    ("cores", "threads"),
    [((), 1), ((None, None), 1), ((0.25, None), 1), ((None, 4.0), 4), ((2.9, 4.0), 2),
     ((3.0, 1.5), 1)],
)  # fmt: skip
def test_threads_are_the_whole_cores_of_the_smallest_budget(
    cores: tuple[float | None, ...], threads: int
) -> None:
    assert threads_of(*cores) == threads


INTRA, INTER = "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"


@pytest.mark.parametrize(
    ("said", "found"),
    [
        ({"A": "b"}, {"OMP_NUM_THREADS": "2", INTRA: "2", INTER: "2"}),
        ({"OMP_NUM_THREADS": "4"}, {INTRA: "4", INTER: "4"}),
        ({"OMP_NUM_THREADS": "4,2"}, {INTRA: "4", INTER: "4"}),
        ({"OMP_NUM_THREADS": "4", INTER: "1"}, {INTRA: "4"}),
        ({INTRA: "8", INTER: "1"}, {"OMP_NUM_THREADS": "2"}),
    ],
)
def test_tensorflow_computes_with_as_many_threads_as_others(
    said: dict[str, str], found: dict[str, str]
) -> None:
    assert thread_variables(said, 2) == found
