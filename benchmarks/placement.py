"""How long placing takes, and how far from the best it is: the placer alone, and all of a plan.

    100 modules on 50 hosts   a random graph of hosts, a stream from each module to two others
    greedy over optimal       small random meshes, the best by mixed-integer programming

The ratio is of the cost that both placers are asked to make small: what messages take, and a little
for hosts that are full. Of many meshes the median and the worst are told.
"""

from __future__ import annotations

import importlib.util
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.row import NotHere, Row
from benchmarks.timing import medians
from otter_ctl.placing import Flow, Item, Request, Room, UnplacedError, place, total_s

HOSTS, MODULES = 50, 100
RUNS = 5
GOAL_S = 1.0
MESHES, SMALL_HOSTS, SMALL_MODULES = 40, 6, 10
SURE_S = 20.0
"""The best that took longer isn't known to be the best: it may have run out of time."""
NEAR = 1.1
_RATE_BPS = 20e6


def rows() -> list[Row]:
    """Two rows of time, two of how near the best it is."""
    otterctl = Path(sys.executable).with_name("otterctl")
    if not otterctl.exists():
        raise NotHere(f"no {otterctl}: make setup")
    if importlib.util.find_spec("highspy") is None:
        raise NotHere("no highspy: pip install 'otter-mesh[optimal]'")
    size = f"{MODULES} modules on {HOSTS} hosts"
    took = statistics.median(_greedy_s(seed) for seed in range(RUNS))
    whole = _plan_s(otterctl)
    ratios = list(_ratios())
    name = f"cost of greedy over optimal, {SMALL_MODULES} modules on {SMALL_HOSTS} hosts"
    return [
        _row(f"placing {size}, greedy", "s", took, GOAL_S, RUNS),
        _row(f"otterctl plan, {size}, greedy", "s", whole, None, RUNS),
        _row(f"{name}, median", "1", statistics.median(ratios), NEAR, len(ratios)),
        _row(f"{name}, worst", "1", max(ratios), NEAR, len(ratios)),
    ]


def _row(name: str, unit: str, ours: float, goal: float | None, n: int) -> Row:
    limit = 1.0 if unit == "1" else None
    return {
        "name": name, "unit": unit, "better": "lower", "ours": ours, "peers": {}, "limit": limit,
        "goal": goal, "n": n,
    }  # fmt: skip


# --- how long -------------------------------------------------------------------------------------


def _greedy_s(seed: int) -> float:
    asked = mesh(seed, HOSTS, MODULES)
    start = time.perf_counter()
    place(asked)
    return time.perf_counter() - start


def _plan_s(otterctl: Path) -> float:
    """The whole command on such a mesh, with a root where no agent is."""
    with tempfile.TemporaryDirectory(prefix="otter-bench-") as scratch:
        file = Path(scratch, "placed.toml")
        file.write_text("\n".join(_topology(random.Random(1))))
        argv = [str(otterctl), "--root", str(Path(scratch, "none")), "plan", str(file)]
        return medians({"plan": argv}, RUNS)["plan"]


def _topology(dice: random.Random) -> Iterator[str]:
    yield 'name = "placed"\novercommit = true\n[defaults.module]\nruntime = "process"'
    yield from (f"[hosts.h{n}]\ncpu = 4" for n in range(HOSTS))
    for a, b in _joined(dice, HOSTS):
        delay = dice.choice((1, 2, 5, 10, 20))
        yield f'[[links]]\nbetween = ["h{a}", "h{b}"]\ndelay = "{delay}ms"\nrate = "20mbit"'
    for n in range(MODULES):
        yield f'[modules.m{n}]\ncommand = ["true"]\ncpu = {dice.choice((0.25, 0.5, 1))}'
    for number, (a, b, _) in enumerate(_talks(dice, MODULES)):
        yield f'[[streams]]\nfrom = "m{a}.out{number}"\nto = "m{b}.in{number}"'


# --- how good -------------------------------------------------------------------------------------


def _ratios() -> Iterator[float]:
    """Of meshes on which everything has a place, and the best is known."""
    for seed in range(MESHES):
        asked = mesh(seed, SMALL_HOSTS, SMALL_MODULES)
        try:
            quick = total_s(asked, place(asked))
        except UnplacedError:
            continue
        start = time.perf_counter()
        best = total_s(asked, place(asked, "optimal"))
        if time.perf_counter() - start < SURE_S:
            yield quick / best


def mesh(seed: int, hosts: int, modules: int) -> Request:
    """Hosts of a random graph with delays; modules, a fifth of which name their hosts."""
    dice = random.Random(seed)
    ways = _shortest(dice, hosts)
    names = [f"h{n}" for n in range(hosts)]

    def cross_s(source: str, target: str, size: float) -> float:
        if source == target:
            return 0.0
        return ways[int(source[1:])][int(target[1:])] + 8 * size / _RATE_BPS

    return Request(
        rooms=tuple(Room(name=name, has={"cpu": dice.choice((1.5, 2.0, 3.0))}) for name in names),
        items=tuple(
            Item(
                name=f"m{n}",
                needs={"cpu": dice.choice((0.25, 0.5, 1.0))},
                room=dice.choice(names) if dice.random() < 0.2 else None,
            )
            for n in range(modules)
        ),
        flows=tuple(
            Flow(name=f"{a}>{b}", source=f"m{a}", target=f"m{b}", message_bytes=size)
            for a, b, size in _talks(dice, modules)
        ),
        cross_s=cross_s,
    )


def _joined(dice: random.Random, hosts: int) -> list[tuple[int, int]]:
    """A connected random graph with two links per host."""
    joined = {(dice.randrange(n), n) for n in range(1, hosts)}
    while len(joined) < min(2 * hosts, hosts * (hosts - 1) // 2):
        a, b = sorted(dice.sample(range(hosts), 2))
        joined.add((a, b))
    return sorted(joined)


def _shortest(dice: random.Random, hosts: int) -> list[list[float]]:
    """Delays of all ways (Floyd and Warshall)."""
    far = [[0.0 if a == b else float("inf") for b in range(hosts)] for a in range(hosts)]
    for a, b in _joined(dice, hosts):
        far[a][b] = far[b][a] = dice.choice((0.001, 0.002, 0.005, 0.01, 0.02))
    for by in range(hosts):
        for row in far:
            for to in range(hosts):
                row[to] = min(row[to], row[by] + far[by][to])
    return far


def _talks(dice: random.Random, modules: int) -> list[tuple[int, int, int]]:
    """Who sends whom how much: each module two others."""
    pairs = {(n, to) for n in range(modules) for to in dice.sample(range(modules), 2) if to != n}
    return [(a, b, dice.choice((10, 1000, 100_000))) for a, b in sorted(pairs)]
