"""How long a large topology takes to check and to plan: whole commands, no agent.

    globs      clients with a link to each of five edge hosts, in three tables
    long hand  the same, table by table
    random     a random graph, table by table: hardly two routes can be summed up

The limit is Python's own TOML parser on the same file. Doubled sizes show whether time is linear.
"""

from __future__ import annotations

import random
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from benchmarks.row import NotHere, Row
from benchmarks.timing import medians

HOSTS = 1000
EDGES = 5
RUNS = 5
VALIDATE_GOAL_S = 1.0
PLAN_GOAL_S = 3.0
LINEAR = 2.5
"""Twice the size in at most this many times the time; starting the command takes a part of it."""
PROPERTIES = 'delay = "5ms"\nrate = "20mbit"\n'


def rows() -> list[Row]:
    """Two rows per shape, and two on how time grows."""
    otterctl = Path(sys.executable).with_name("otterctl")
    if not otterctl.exists():
        raise NotHere(f"no {otterctl}: make setup")
    found: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="otter-bench-") as scratch:
        folder = Path(scratch)
        for shape, write in SHAPES.items():
            file = _written(folder, shape, write, HOSTS)
            found += _shape(otterctl, folder, shape, file)
        found += _growth(otterctl, folder)
    return found


def _shape(otterctl: Path, folder: Path, shape: str, file: Path) -> Iterator[Row]:
    parse = f"import tomllib; tomllib.load(open({str(file)!r}, 'rb'))"
    commands = {**_commands(otterctl, folder, file), "tomllib": [sys.executable, "-c", parse]}
    took = medians(commands, RUNS)
    for verb, goal in (("validate", VALIDATE_GOAL_S), ("plan", PLAN_GOAL_S)):
        yield {
            "name": f"otterctl {verb}, {HOSTS} hosts, {HOSTS * EDGES} links, {shape}",
            "unit": "s",
            "better": "lower",
            "ours": took[verb],
            "limit": took["tomllib"],
            "peers": {},
            "goal": goal,
            "n": RUNS,
        }


def _growth(otterctl: Path, folder: Path) -> Iterator[Row]:
    """The same two verbs on twice as much, written out."""
    files = {n: _written(folder, "long hand", SHAPES["long hand"], n) for n in (HOSTS, 2 * HOSTS)}
    commands = {
        f"{verb} {count}": argv
        for count, file in files.items()
        for verb, argv in _commands(otterctl, folder, file).items()
    }
    took = medians(commands, RUNS)
    for verb in ("validate", "plan"):
        yield {
            "name": f"otterctl {verb}, {2 * HOSTS} hosts over {HOSTS}, long hand",
            "unit": "1",
            "better": "lower",
            "ours": took[f"{verb} {2 * HOSTS}"] / took[f"{verb} {HOSTS}"],
            "limit": None,
            "peers": {},
            "goal": LINEAR,
            "n": RUNS,
        }


def _commands(otterctl: Path, folder: Path, file: Path) -> dict[str, list[str]]:
    """Plan with a root where no agent is."""
    start = [str(otterctl), "--root", str(folder / "none")]
    return {"validate": [*start, "validate", str(file)], "plan": [*start, "plan", str(file)]}


def _written(folder: Path, shape: str, write: Callable[[int], Iterator[str]], count: int) -> Path:
    file = folder / f"{shape.replace(' ', '-')}-{count}.toml"
    file.write_text("\n".join(['name = "big"', *write(count)]))
    return file


def globs(count: int) -> Iterator[str]:
    """Three tables."""
    yield f"[hosts.client]\ncount = {count - EDGES}\ncpu = 0.5"
    yield f"[hosts.edge]\ncount = {EDGES}"
    yield f'[[links]]\nbetween = ["client-*", "edge-*"]\n{PROPERTIES}'


def long_hand(count: int) -> Iterator[str]:
    """The same mesh, table by table."""
    clients, edges = range(1, count - EDGES + 1), range(1, EDGES + 1)
    yield from (f"[hosts.client-{i}]\ncpu = 0.5" for i in clients)
    yield from (f"[hosts.edge-{i}]" for i in edges)
    for i in clients:
        for j in edges:
            yield f'[[links]]\nbetween = ["client-{i}", "edge-{j}"]\n{PROPERTIES}'


def random_graph(count: int) -> Iterator[str]:
    """A connected random graph with five links per host and delays of all sizes."""
    chance = random.Random(1)
    joined = {(chance.randrange(i), i) for i in range(1, count)}
    while len(joined) < EDGES * count:
        a, b = sorted(chance.sample(range(count), 2))
        joined.add((a, b))
    yield from (f"[hosts.h{i}]\ncpu = 0.5" for i in range(count))
    for a, b in sorted(joined):
        delay = chance.choice([1, 2, 5, 10, 20])
        yield f'[[links]]\nbetween = ["h{a}", "h{b}"]\ndelay = "{delay}ms"\nrate = "20mbit"'


SHAPES = {"globs": globs, "long hand": long_hand, "random": random_graph}
