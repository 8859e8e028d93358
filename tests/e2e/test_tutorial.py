"""Every step of docs/tutorial.md, run in order as a newcomer would, its output compared."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from helpers.otter import BIN
from helpers.tutorial import Reader, matches, steps

PAGE = (Path(__file__).parents[2] / "docs" / "tutorial.md").read_text()
pytestmark = [pytest.mark.timed, pytest.mark.netns]


@pytest.mark.slow
def test_every_step(shared_otter, tmp_path):
    env = {**shared_otter.env, "PATH": f"{BIN}:{os.environ['PATH']}"}
    env["OTTER_RUNS"] = "runs"  # the default, which other tests of this agent change
    reader = Reader(tmp_path, env)
    done = list(steps(PAGE))
    assert len(done) > 20
    try:
        for step in done:
            reader.do(step)
    finally:
        reader.close()
    assert shared_otter.json("ls") == []


@pytest.mark.parametrize(
    ("shown", "said", "same"),
    [
        (["a", "…", "b"], "a\nb\n", True),
        (["a", "…", "b"], "a\nx\ny\nb\n", True),
        (["a", "b"], "a\nx\nb\n", False),
        (["a … c"], "a b c\n", True),
        (["a"], "a\nb\n", False),
        (["a"], "", False),
        ([], "", True),
        (["…", "a"], "b\n", False),
        (["…", "a", "…", "b", "…"], "b\na\n" * 500, True),
        (["…", "a"] * 20, "b\n" * 500, False),
    ],
)
def test_the_comparison_is_strict_where_the_page_is(shown, said, same):
    assert matches(shown, said) is same
