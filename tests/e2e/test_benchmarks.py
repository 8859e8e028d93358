"""`python -m benchmarks`: one JSON document with the promised keys, and a table for people."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
KEYS = {"name", "unit", "better", "ours", "peers", "limit", "goal", "n"}


def benchmarks(*args: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "benchmarks", *args]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_json_is_one_document() -> None:
    done = benchmarks("cli", "--json")
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert {"cpu", "cores", "kernel", "python", "load"} <= set(document["machine"])
    (row,) = document["rows"]
    assert set(row) >= KEYS
    assert row["limit"] < row["ours"]
    assert "python -c pass" in row["peers"]


@pytest.mark.slow
def test_the_table_shows_ours_the_peers_and_the_goal() -> None:
    done = benchmarks("cli")
    assert done.returncode == 0, done.stderr
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("otterctl --help")]
    assert "< 150 ms" in line
    assert "python -c pass" in line


def test_an_unknown_name_lists_the_known() -> None:
    done = benchmarks("nope")
    assert done.returncode == 2
    assert "no benchmark 'nope'; there are cli, " in done.stderr
