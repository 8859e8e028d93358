"""How many threads a module computes with, by its budget."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers.workloads import make_workload

from otter_agent.layout import Layout
from otter_agent.runtimes.base import thread_variables, threads_of
from otter_agent.runtimes.container import ImageFacts, config


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


@pytest.mark.parametrize(
    ("of_image", "of_module", "found"),
    [
        ([], {}, {"OMP_NUM_THREADS=1", f"{INTRA}=1", f"{INTER}=1"}),
        (["OMP_NUM_THREADS=4"], {}, {f"{INTRA}=4", f"{INTER}=4"}),  # which has its own already
        (["OMP_NUM_THREADS=4", f"{INTER}=2"], {}, {f"{INTRA}=4"}),
        (["OMP_NUM_THREADS=4"], {"OMP_NUM_THREADS": "3"},
         {"OMP_NUM_THREADS=3", f"{INTRA}=3", f"{INTER}=3"}),
    ],
)  # fmt: skip
def test_what_an_image_says_of_threads_holds_unless_the_module_says_otherwise(
    of_image: list[str], of_module: dict[str, str], found: set[str], tmp_path: Path
) -> None:
    work = make_workload(Layout.at(tmp_path), "image", ("true",), env=of_module)
    image = ImageFacts.of({"Id": "sha256:1", "Config": {"Env": ["PATH=/bin", *of_image]}})
    made = config(work, image, agent_id="a", gate_file=tmp_path / "gate", cgroup_parent="/")
    assert {each for each in made["Env"] if "_THREADS=" in each} == found
