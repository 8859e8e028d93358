"""`python -m benchmarks`: one JSON document with the promised keys, and a table for people."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.otter import wait_for

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
    assert {"cpu", "cores", "kernel", "python", "load", "used"} <= set(document["machine"])
    (row,) = document["rows"]
    assert set(row) >= KEYS
    assert row["limit"] > 0
    assert row["ours"] > 0
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
    said, _, known = done.stderr.partition("; there are ")
    assert said.endswith("no benchmark 'nope'")
    assert {"cli", "links", "ring"} <= set(known.strip().split(", "))


@pytest.mark.slow
def test_the_transport_is_measured_with_who_is_there() -> None:
    """Peers are optional: who isn't installed is named, and the others have figures."""
    tiny = ["--rounds", "1", "--times", "0.02", "--json"]
    only = [word for name in ("net.stream", "pyzmq", "bare asyncio") for word in ("--only", name)]
    command = [sys.executable, "-m", "benchmarks.transport", "round_trip", *tiny, *only]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout)["rows"]
    assert {row["name"].rpartition(", ")[2] for row in rows} == {"median", "p99"}
    for row in rows:
        assert set(row) >= KEYS
        assert row["limit"] > 0
        assert row["ours"] > 0
        absent = "without pyzmq: zmq isn't installed" in row.get("note", "")
        assert "pyzmq" in row["peers"] or absent or row["name"].endswith("p99")


def test_a_contender_that_fails_is_named_and_the_others_go_on() -> None:
    from benchmarks.transport import pairs
    from benchmarks.transport.cases import CASES
    from benchmarks.transport.contenders import CONTENDERS
    from benchmarks.transport.peer import Contender

    CONTENDERS["broken"] = Contender("bare_protocol", ("no_such_package",))
    try:
        case = dataclasses.replace(CASES["round_trip"], contenders=("broken", "sockets"))
        results = asyncio.run(pairs.measure(case, rounds=1, times=0.01))
    finally:
        del CONTENDERS["broken"]
    assert results.absent == {"broken": "no_such_package isn't installed: make setup-bench"}
    assert {name for _, name in results.taken} == {"sockets"}


KILLED = """
import subprocess, sys
from benchmarks.afterwards import afterwards, scratch, tied

with scratch() as folder, afterwards(lambda: (folder.parent / sys.argv[1]).write_text("done")):
    tied = subprocess.Popen(tied(["sleep", "infinity"]))
    print(folder, tied.pid, flush=True)
    {then}
"""


@pytest.mark.parametrize(
    ("then", "how"),
    [("sys.stdin.read()", "SIGKILL"), ("sys.stdin.read()", "SIGTERM"), ("1 / 0", "an error")],
)
def test_what_a_benchmark_made_is_gone_however_it_ends(then: str, how: str, tmp_path: Path) -> None:
    """Also if it is killed: its folder, what it runs, and what it says is to be done."""
    with subprocess.Popen(
        [sys.executable, "-c", KILLED.format(then=then), "told"], cwd=ROOT, text=True,
        env={**os.environ, "TMPDIR": str(tmp_path)}, stdin=subprocess.PIPE,
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
    ) as benchmark:  # fmt: skip
        assert benchmark.stdout is not None
        folder, pid = benchmark.stdout.readline().split()
        if how != "an error":
            benchmark.send_signal(signal.Signals[how])
        benchmark.wait(30)
        wait_for(lambda: not Path(folder).exists(), "its folder stayed")
        wait_for(lambda: not Path(f"/proc/{pid}").exists(), "its command went on")
    assert (tmp_path / "told").read_text() == "done"  # before the folder went: it is the inner one
